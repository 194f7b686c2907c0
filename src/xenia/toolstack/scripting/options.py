"""What a guest is to be, in Python's types: the options of `xenia run` under their names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

from xenia.errors import ConfigError
from xenia.toolstack.commands.variables import check_variables
from xenia.toolstack.config.choices import CLOCKS

Path = str | os.PathLike[str]
Words = str | Iterable[str]

DEBIAN = "debian"
# Debian's kernels, by flavour; None is the usual one.
_FLAVOURS = {DEBIAN: None, "debian-cloud": "cloud-amd64"}


class GuestOptions(TypedDict, total=False):
    """What a guest is to be; what is left out, or None, is as for `xenia run`.

    kernel      a file, or "debian" (unless told), "debian-cloud", "demo"
    initrd, modules     files and a folder of a kernel of your own; modules="all": all of the distribution's package
    append      more words for the kernel's command line
    memory      bytes, or "512M"
    max_memory  what it can be given while it runs
    vcpus       how many
    disks       "data.img", "file:data.img,cow": the words of --disk, for xvda, xvdb and so on
    root        a disk to boot from
    share       ".", "src:/src:ro": folders that the guest sees, in the words of --share; one or several
    rw_cow      the same as the guest's own copy
    net         "user", "none", "bridge=lan": the words of --net, one or several
    publish     "8080:80": ports of the host's that lead to the guest's
    env         variables for commands, besides those that all have
    cwd         the folder that a command starts in
    name        the guest's
    clock       "warped": time jumps to the next timer when the guest idles
    """

    kernel: Path | None
    initrd: Path | None
    modules: Path | None
    append: str | None
    memory: int | str | None
    max_memory: int | str | None
    vcpus: int | None
    disks: Words | None
    root: Path | None
    share: Words | None
    rw_cow: Words | None
    net: Words | None
    publish: Words | None
    env: Mapping[str, str] | None
    cwd: str | None
    name: str | None
    clock: str | None


_WORDS = {"max_memory": "maxmem", "disks": "disk", "rw_cow": "rw-cow"}
_NAMES = {_WORDS.get(name, name): name for name in GuestOptions.__annotations__}
_OPTION = re.compile(rf"(?:argument )?--({'|'.join(sorted(_NAMES, key=len, reverse=True))})(?![\w-])")


def arguments(options: GuestOptions) -> list[str]:
    """The same on a command line.  TypeError for what is no option."""
    words: list[str] = []
    for name, value in check(options).items():
        option = f"--{_WORDS.get(name, name)}"
        if name == "kernel" and value in _FLAVOURS:
            words += [f"--flavour={flavour}"] if (flavour := _FLAVOURS[str(value)]) else []
        elif name == "env":
            words += [f"{option}={variable}={content}" for variable, content in value.items()]
        else:
            words += [f"{option}={os.fspath(one) if isinstance(one, os.PathLike) else one}" for one in several(value)]
    return words


def check(options: GuestOptions) -> dict[str, Any]:
    """Those that say something.  TypeError for what is no option, ConfigError for a value that is none."""
    for name in options:
        if name not in GuestOptions.__annotations__:
            raise TypeError(f"a guest has no option {name!r}: it has {', '.join(GuestOptions.__annotations__)}")
    given = {name: value for name, value in options.items() if value is not None}
    if not isinstance(variables := given.get("env", {}), Mapping):
        raise TypeError(f"env has names of variables and their values, as a dict does, and is no {variables!r}")
    check_variables(variables)
    if (clock := given.get("clock", "real")) not in CLOCKS:
        raise ConfigError(f"clock {clock!r}: there are {' and '.join(map(repr, CLOCKS))}")
    return given


def in_python(said: str) -> str:
    """What was said of the command line's options, of those by the names that they have here."""
    return _OPTION.sub(lambda found: _NAMES[found[1]], said)


def several(words: Any) -> Sequence[Any]:
    """Words that may be one."""
    return [words] if isinstance(words, str | int | os.PathLike) else list(words)


def kernel_of(kernel: Path | None) -> tuple[str | None, str | None]:
    """The file, or else the flavour, that a kernel's name stands for.  ConfigError where it is empty."""
    if kernel is None or kernel in _FLAVOURS:
        return None, _FLAVOURS[str(kernel or DEBIAN)]
    if not (name := os.fspath(kernel)):
        raise ConfigError("a kernel is a file, or 'debian', 'debian-cloud' or 'demo'")
    return name, None
