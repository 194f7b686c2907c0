"""What a guest is to be, in Python's types: the options of `xenia run` under their names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

from xenia.toolstack.config import values
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


_KINDS: dict[str, values.Kind] = {
    "kernel": values.file, "initrd": values.file, "modules": values.file, "append": values.line,
    "memory": values.memory_or_words, "max_memory": values.memory_or_words, "vcpus": values.NUMBER,
    "disks": values.WORDS, "root": values.file, "share": values.WORDS, "rw_cow": values.WORDS, "net": values.WORDS,
    "publish": values.WORDS, "env": values.variables, "cwd": values.text, "name": values.guest_name,
    "clock": values.one_of(CLOCKS),
}  # fmt: skip
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
            words += [f"{option}={one}" for one in (value if isinstance(value, tuple) else (value,))]
    return words


def check(options: GuestOptions) -> dict[str, Any]:
    """Those that say something.  TypeError for what is no option, ConfigError for a value that is none."""
    for name in options:
        if name not in GuestOptions.__annotations__:
            raise TypeError(f"a guest has no option {name!r}: it has {', '.join(GuestOptions.__annotations__)}")
    return {name: _KINDS[name](name, value) for name, value in options.items() if value is not None}


def in_python(said: str) -> str:
    """What was said of the command line's options, of those by the names that they have here."""
    return _OPTION.sub(lambda found: _NAMES[found[1]], said)


def kernel_of(kernel: Path | None) -> tuple[str | None, str | None]:
    """The file, or else the flavour, that a kernel's name stands for."""
    if kernel is None or kernel in _FLAVOURS:
        return None, _FLAVOURS[str(kernel or DEBIAN)]
    return os.fspath(kernel), None
