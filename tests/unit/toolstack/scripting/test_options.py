"""A guest's options in Python's types, and as words."""

from pathlib import Path

import pytest

from xenia.cli.parser import build_parser
from xenia.errors import ConfigError
from xenia.toolstack.scripting.options import GuestOptions, arguments, in_python


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, []),
        ({"memory": None, "net": None}, []),
        ({"memory": 1 << 27, "vcpus": 2}, ["--memory=134217728", "--vcpus=2"]),
        ({"memory": 0}, ["--memory=0"]),
        ({"memory": "512M", "max_memory": "1G"}, ["--memory=512M", "--maxmem=1G"]),
        ({"kernel": Path("a b/vmlinuz")}, ["--kernel=a b/vmlinuz"]),
        ({"kernel": "debian"}, []),
        ({"kernel": "debian-cloud"}, ["--flavour=cloud-amd64"]),
        ({"disks": "a.img,ro"}, ["--disk=a.img,ro"]),
        ({"disks": ["a.img", "b.img"], "net": "none"}, ["--disk=a.img", "--disk=b.img", "--net=none"]),
        ({"env": {"A": "1 2", "B": "x=y"}}, ["--env=A=1 2", "--env=B=x=y"]),
        ({"publish": [8080, "90:80"]}, ["--publish=8080", "--publish=90:80"]),
        ({"share": Path("a")}, ["--share=a"]),
    ],
)  # fmt: skip
def test_options_are_those_of_the_command_line(options: GuestOptions, words: list[str]) -> None:
    assert arguments(options) == words
    build_parser().parse_args(["run", *(word for word in words if word != "--memory=0")])


def test_every_option_has_its_words_on_the_command_line() -> None:
    for name in GuestOptions.__annotations__:
        value: object = {"env": {"A": "b"}, "memory": "512M", "max_memory": "1G", "vcpus": 2, "clock": "warped"}
        value = value.get(name, "file")  # type: ignore[attr-defined]
        build_parser().parse_args(["run", *arguments({name: value})])  # type: ignore[misc]


def test_what_is_no_option_is_a_type_error_that_says_what_there_is() -> None:
    with pytest.raises(TypeError, match=r"no option 'momory'.*memory"):
        arguments({"momory": 1})  # type: ignore[typeddict-unknown-key]


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"env": {"A=B": "c"}}, ConfigError, "env: 'A=B' names no variable"),
        ({"env": {"": "c"}}, ConfigError, "env: '' names no variable"),
        ({"env": ["A"]}, TypeError, "as a dict has them"),
        ({"clock": "fast"}, ConfigError, "clock 'fast': there are 'real' and 'warped'"),
        ({"clock": 3}, TypeError, "clock is a str, not 3"),
        ({"env": {1: "c"}}, TypeError, "a variable of env is a str, not 1"),
        ({"env": {"A": 3}}, TypeError, r"env\['A'\] is a str, not 3"),
        ({"env": {"A": "b\0"}}, ConfigError, r"env\['A'\] 'b\\x00': there is a NUL"),
        ({"memory": 1.5}, TypeError, "memory is a number of bytes, not 1.5"),
        ({"memory": True}, TypeError, "memory is a number of bytes, not True"),
        ({"memory": -1}, ConfigError, "memory -1: it is a number of bytes, 0K to 4096T"),
        ({"memory": "1\0"}, ConfigError, "memory '1.x00': there is a NUL in it"),
        ({"vcpus": "x"}, TypeError, "vcpus is a whole number, not 'x'"),
        ({"vcpus": 1 << 9999}, ConfigError, "vcpus a number of 10000 bits"),
        ({"kernel": 3}, TypeError, "kernel is a file's name, as str or os.PathLike, not 3"),
        ({"kernel": ""}, ConfigError, "kernel '' names no file"),
        ({"kernel": "a\0b"}, ConfigError, "kernel 'a.x00b': there is a NUL in it"),
        ({"disks": [None]}, TypeError, "disks is a file's name, as str or os.PathLike, not None"),
        ({"disks": 3.5}, TypeError, "disks is a str, or several, not 3.5"),
        ({"share": {"a": "b"}}, TypeError, "share is a str, or several, not a dict"),
        ({"net": b"none"}, TypeError, "net is a str, or several, not b'none'"),
        ({"name": "a b"}, ConfigError, "name 'a b': use 1 to 64 letters"),
        ({"append": "a\nb"}, ConfigError, r"append 'a\\nb': it is one line"),
    ],
)
def test_a_value_that_cannot_be_is_told_here(options: GuestOptions, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        arguments(options)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("argument --vcpus: 'two' is no number", "vcpus: 'two' is no number"),
        ("1M (--maxmem) is less than 2M (--memory)", "1M (max_memory) is less than 2M (memory)"),
        ("leave --initrd out, or use --append 'rdinit=x'", "leave initrd out, or use append 'rdinit=x'"),
        ("--rw-cow and --share", "rw_cow and share"),
        ("'xenia kernel list --all', --kernel-like, --nets", "'xenia kernel list --all', --kernel-like, --nets"),
    ],
)  # fmt: skip
def test_what_the_command_line_says_has_the_names_of_here(said: str, told: str) -> None:
    assert in_python(said) == told
