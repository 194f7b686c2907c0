"""What an image runs, and whom its user is."""

from __future__ import annotations

import io
from typing import Any

import pytest

from xenia.errors import ConfigError
from xenia.testing.containers import file, layer
from xenia.toolstack.image.oci_archive import open_tar
from xenia.toolstack.image.oci_config import User, find_user, image_command
from xenia.toolstack.image.oci_tree import Tree

PASSWD = b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/srv:/bin/false\nbroken:x:no:1::/:\nshort\n"
GROUP = b"root:x:0:\nwww:x:34:\nlogs:x:4:syslog,web\nmore:x:5:web\nwild:x:-1:web\n"


@pytest.fixture
def tree() -> Tree:
    made = Tree("image")
    made.add_layer(open_tar(io.BytesIO(layer(file("etc/passwd", PASSWD), file("etc/group", GROUP)))))
    return made


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("", User(0, 0, (), "/root")),
        ("web", User(33, 34, (4, 5), "/srv")),
        ("33", User(33, 34, (4, 5), "/srv")),
        ("web:logs", User(33, 4, (), "/srv")),
        ("web:77", User(33, 77, (), "/srv")),
        ("1000", User(1000)),
        ("1000:1000", User(1000, 1000)),
    ],
)
def test_a_user_is_looked_up_in_the_image(tree: Tree, text: str, user: User) -> None:
    assert find_user(text, tree, "image") == user


@pytest.mark.parametrize("text", ["nobody", "web:nobody", "broken", "4294967296", "-1", "web:\u0663"])
def test_a_user_whom_the_image_does_not_know_is_refused(tree: Tree, text: str) -> None:
    with pytest.raises(ConfigError, match=r"which its /etc|whom its /etc"):
        find_user(text, tree, "image")


def test_without_files_of_users_numbers_do() -> None:
    assert find_user("12:34", Tree("image"), "image") == User(12, 34)
    assert find_user("", Tree("image"), "image") == User()


def test_entrypoint_and_command_are_one_after_the_other(tree: Tree) -> None:
    said = {"Entrypoint": ["/entry", "-x"], "Cmd": ["serve"], "Env": ["A=1=2", "HOME=/h"], "WorkingDir": "srv/../data"}
    command = image_command({"config": {**said, "User": "web"}}, tree, "image")
    assert command.arguments == ("/entry", "-x", "serve")
    assert command.environment == {"A": "1=2", "HOME": "/h"}
    assert (command.directory, command.uid, command.gid, tuple(command.groups)) == ("/data", 33, 34, (4, 5))
    assert command.encode().split(b"\0") == [
        b"cwd=/data", b"uid=33", b"gid=34", b"group=4", b"group=5", b"env=A=1=2", b"env=HOME=/h", b"arg=/entry",
        b"arg=-x", b"arg=serve", b"",
    ]  # fmt: skip


@pytest.mark.parametrize("config", [{}, {"config": None}, {"config": {"Entrypoint": None, "Cmd": None, "User": None}}])
def test_an_image_that_says_nothing_runs_a_shell(tree: Tree, config: dict[str, Any]) -> None:
    command = image_command(config, tree, "image")
    assert (command.arguments, command.environment, command.directory) == (("/bin/sh",), {"HOME": "/root"}, "/")


@pytest.mark.parametrize(
    "said",
    [
        [], {"Cmd": "ls"}, {"Cmd": [1]}, {"Cmd": ["a\0arg=b"]}, {"Env": ["A"]}, {"Env": ["=1"]}, {"WorkingDir": 1},
        {"WorkingDir": "/a\0uid=0"}, {"User": ["web"]},
    ],
)  # fmt: skip
def test_a_configuration_that_says_what_cannot_be_is_refused(tree: Tree, said: object) -> None:
    with pytest.raises(ConfigError, match="image: "):
        image_command({"config": said}, tree, "image")


def test_an_environment_too_long_for_the_agent_is_refused(tree: Tree) -> None:
    command = image_command({"config": {"Env": [f"A={'x' * (1 << 20)}"]}}, tree, "image")
    with pytest.raises(ConfigError, match="what the image runs takes"):
        command.encode()
