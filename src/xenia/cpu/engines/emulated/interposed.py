"""Which functions of Unicorn's the engine takes the place of: those that a C file here has a `__wrap_` for.

The build asks it of the objects that are linked, so that a wrapper that is written is also linked (setup.py).
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable

PREFIX = "__wrap_"


class NothingToWrap(Exception):
    """A wrapper that nobody would ever call."""


def symbols(files: Iterable[str], option: str) -> set[str]:
    """The names that `nm` tells of with that option."""
    told = subprocess.run(["nm", "-P", option, *files], capture_output=True, text=True, check=True).stdout
    return {words[0] for line in told.splitlines() if len(words := line.split()) > 1}


def interposed(objects: Iterable[str], library: str) -> list[str]:
    """What the linker has to wrap, of these objects and that static library.

    NothingToWrap where neither calls the function by its name: it is not there, called otherwise in this version, or
    called within its own file alone, where the linker sees no call.
    """
    objects = list(objects)
    wrapped = sorted(
        name.removeprefix(PREFIX) for name in symbols(objects, "--defined-only") if name.startswith(PREFIX)
    )
    missing = sorted(set(wrapped) - symbols([*objects, library], "--undefined-only"))
    if missing:
        raise NothingToWrap(
            f"nobody calls what these are to be called for: {', '.join(PREFIX + name for name in missing)}"
        )
    return wrapped
