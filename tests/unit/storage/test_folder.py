"""Folders of the host's as file systems on disks, looked at with e2fsprogs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from xenia.errors import ConfigError
from xenia.jail.jail import walls_of_host
from xenia.storage import folder as made
from xenia.storage.door import handed, recording
from xenia.storage.layer import Layer
from xenia.storage.stack import create_stack, open_stack

PATH = f"/usr/sbin:/sbin:{os.defpath}"
pytestmark = pytest.mark.skipif(
    not all(shutil.which(name, path=PATH) for name in ("mke2fs", "e2fsck", "debugfs")), reason="no e2fsprogs"
)
USER, GROUP = 70001, 80002  # more than 16 bits


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "a folder, of: mine"
    (top / "below" / "empty").mkdir(parents=True)
    (top / "below" / "file").write_bytes(os.urandom(300_000))
    os.link(top / "below" / "file", top / "linked")
    (top / "link").symlink_to("below/file")
    (top / "\N{SNOWMAN} odd\n").write_text("odd")
    (top / "run").write_text("#!/bin/sh\n")
    (top / "run").chmod(0o755)
    os.utime(top / "run", (1e9, 1e9))
    for number in range(300):
        (top / "below" / str(number)).write_text(str(number))
    return top


def _stored(layer: Layer, to: Path) -> Path:
    subprocess.run(["cp", f"/proc/{os.getpid()}/fd/{layer.host_fd}", to], check=True)
    return to


def _debugfs(image: Path, request: str) -> str:
    done = subprocess.run(["debugfs", "-R", request, image], env={"PATH": PATH}, capture_output=True, check=True)
    return done.stdout.decode()


def _owners(image: Path, *names: str) -> list[tuple[int, int]]:
    said = [_debugfs(image, f"stat /{name}").partition("User:")[2].split() for name in names]
    return [(int(words[0]), int(words[2])) for words in said]


def _words(folder: Path) -> str:
    return "folder:" + str(folder).replace(",", r"\,").replace(":", r"\:")


def test_a_disk_has_what_is_in_the_folder_and_is_sound(folder: Path, tmp_path: Path) -> None:
    with open_stack(_words(folder)) as layer:
        assert not layer.read_only
        image = _stored(layer, tmp_path / "image")
        layer.pwrite(b"gone in the end", 0)
    subprocess.run(["e2fsck", "-fn", image], env={"PATH": PATH}, check=True, capture_output=True)
    (tmp_path / "out").mkdir()
    _debugfs(image, f'rdump / "{tmp_path}/out"')
    found = tmp_path / "out"
    assert {str(path.relative_to(found)) for path in found.rglob("*")} == {
        str(path.relative_to(folder)) for path in folder.rglob("*")
    }
    assert all(
        path.read_bytes() == (folder / path.relative_to(found)).read_bytes()
        for path in found.rglob("*")
        if path.is_file() and not path.is_symlink()
    )
    assert os.readlink(found / "link") == "below/file"
    said = _debugfs(image, "stat /run")
    assert "Mode:  0755" in said and "mtime: 0x3b9aca00" in said
    assert "Links: 2" in _debugfs(image, "stat /linked")
    assert "lost+found" not in _debugfs(image, "ls /")


def test_what_was_made_for_another_process_is_what_that_one_has(folder: Path) -> None:
    with recording() as found:
        with open_stack(_words(folder)) as layer:
            first = layer.pread(1024, 1024)
        opened = [(name, os.dup(descriptor)) for name, descriptor in found.opened]
    with handed(opened), open_stack(_words(folder), read_only=True) as layer:
        assert layer.read_only and layer.pread(1024, 1024) == first


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_users_files_are_roots_and_others_keep_their_numbers(folder: Path, tmp_path: Path) -> None:
    os.chown(folder / "run", USER, GROUP)
    os.chown(folder / "below", 1, GROUP)
    with open_stack(_words(folder)) as layer:
        image = _stored(layer, tmp_path / "image")
    assert _owners(image, "run", "below") == [(USER, GROUP), (1, GROUP)]
    fd = os.open(image, os.O_RDWR)
    made.give_to_root(fd, USER, GROUP)
    os.close(fd)
    subprocess.run(["e2fsck", "-fn", image], env={"PATH": PATH}, check=True, capture_output=True)
    assert _owners(image, "run", "below") == [(0, 0), (1, 0)]


def test_a_folder_that_cannot_be_read_whole_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="No such file or directory"):
        open_stack(_words(folder / "none"))
    with pytest.raises(ConfigError, match="Not a directory"):
        open_stack(_words(folder / "run"))
    monkeypatch.setattr(os, "access", lambda path, mode, **_: path != "run")
    with pytest.raises(ConfigError, match="/run may not be read"):
        open_stack(_words(folder))
    monkeypatch.undo()
    monkeypatch.setattr(made, "_PROGRAMS", "/nowhere")
    with pytest.raises(ConfigError, match="by mke2fs, which this host has not"):
        open_stack(_words(folder))


@pytest.mark.skipif(not walls_of_host().landlock, reason="this host has no Landlock")
def test_who_makes_it_reads_nothing_outside_of_the_folder(tmp_path: Path) -> None:
    # What it would do where a link comes in the place of a file between its look and its open.
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    for one in (folder, outside):
        one.mkdir()
        (one / "file").write_text(str(one))
    with tempfile.TemporaryFile() as image:
        words = ("mke2fs", "-q", "-F", "-t", "ext4", "-d", str(outside), f"/proc/self/fd/{image.fileno()}", "8M")
        made._run(outside, image.fileno(), lambda: None, *words)
        with pytest.raises(ConfigError, match="no disk can be made of the folder"):
            made._run(folder, image.fileno(), lambda: None, *words)


@pytest.mark.timeout(30)
def test_who_makes_it_does_not_wait_for_a_pipe_that_came_in_a_files_place(tmp_path: Path) -> None:
    # As mke2fs does where it comes between its look and its open: it opens the name, by a path from where it is.
    (tmp_path / "below").mkdir()
    os.mkfifo(tmp_path / "below" / "file")
    looks: list[None] = []
    with tempfile.TemporaryFile() as image, pytest.raises(ConfigError, match="file in it has become something else"):
        words = ("sh", "-c", f"cd {tmp_path}/below && exec cat file")
        made._run(tmp_path, image.fileno(), lambda: looks.append(None), *words)
    assert looks


@pytest.mark.timeout(30)
def test_who_makes_it_may_take_its_time_with_a_file(tmp_path: Path) -> None:
    """A program that waits, but for nothing that it opens, is waited for."""
    with tempfile.TemporaryFile() as image:
        made._run(tmp_path, image.fileno(), lambda: None, "sleep", "1.2")


def test_it_is_told_what_ended_who_makes_it(tmp_path: Path) -> None:
    with tempfile.TemporaryFile() as image, pytest.raises(ConfigError, match=r"sh was ended by SIGKILL$"):
        made._run(tmp_path, image.fileno(), lambda: None, "sh", "-c", "kill -9 $$")


def test_a_link_that_came_in_a_folders_place_is_not_followed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside, opens = folder.parent / "outside", os.open
    (outside / "deep").mkdir(parents=True)

    def swapped(path: str, *rest: int) -> int:
        if path == str(folder / "below"):
            (folder / "below").rename(folder / "away")
            (folder / "below").symlink_to(outside)
        return opens(path, *rest)

    monkeypatch.setattr(os, "open", swapped)
    with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
        made._measure(folder, made._Shown(folder))


def test_it_is_told_how_far_it_is_where_it_takes_a_while(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int, int]] = []
    with made.telling(lambda *words: told.append(words)):
        open_stack(_words(folder)).close()
        assert not told
        monkeypatch.setattr(made, "_QUIET", -1.0)
        monkeypatch.setattr(made, "_LOOKED", 0.01)
        open_stack(_words(folder)).close()
    assert told and all(what == f"copying {folder} to a disk" for what, _, _ in told)
    assert told[0][1:] == (0, 0) and told[-1][2] > 300_000


def test_a_disk_of_a_folder_says_which(folder: Path) -> None:
    with open_stack(_words(folder), read_only=True) as layer:
        assert layer.name == "folder" and layer.details()["path"] == str(folder)


def test_a_disk_of_a_folder_is_made_by_who_opens_it_and_not_kept(folder: Path, tmp_path: Path) -> None:
    for stack in (_words(folder), f"{_words(folder)},cache"):
        with pytest.raises(ConfigError, match="is made anew whenever it is opened"):
            create_stack(stack, None)
    for kept in (f"cow:{tmp_path}/kept", f"checkpoint:{tmp_path}/kept"):
        with pytest.raises(ConfigError, match="what is kept would fit no other"):
            open_stack(f"{_words(folder)},{kept}")
    open_stack(f"{_words(folder)},cow").close()


@pytest.mark.parametrize("stack", ["folder", "folder:", "folder::ro"])
def test_no_folder_is_not_the_one_that_somebody_is_in(stack: str) -> None:
    with pytest.raises(ConfigError, match="folder needs a folder: folder:PATH"):
        open_stack(stack)
