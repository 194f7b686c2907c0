"""Names of things in the store.

A `Path` is absolute and checked when it is made, so nothing relative or malformed can reach the tree.  What a watch
may be set on is wider, a `Name`: a path, or a `Special` such as @introduceDomain.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering
from typing import Final

from xenia.abi.xs_wire import XENSTORE_ABS_PATH_MAX, XENSTORE_REL_PATH_MAX, XsdError
from xenia.xenstore.error import StoreError

_ABSOLUTE: Final = re.compile(rb"(?:/[-_@A-Za-z0-9]+)+")
_RELATIVE: Final = re.compile(rb"[-_A-Za-z0-9][-_@A-Za-z0-9]*(?:/[-_@A-Za-z0-9]+)*")
_SPECIAL: Final = re.compile(rb"@[-_@A-Za-z0-9/]+")


@total_ordering
@dataclass(frozen=True, slots=True)
class Path:
    """An absolute path: the names from the root down, none for the root itself."""

    names: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: bytes, base: Path | None = None) -> Path:
        """The path that `text` spells, relative to `base` unless it begins with a slash.

        Raises StoreError(EINVAL) for what is no path: a character outside [-/_@A-Za-z0-9], an empty name, a trailing
        slash, more than XENSTORE_ABS_PATH_MAX bytes (XENSTORE_REL_PATH_MAX when relative), or relative without a
        base.
        """
        if text == b"/":
            return ROOT
        if text[:1] == b"/":
            if len(text) <= XENSTORE_ABS_PATH_MAX and _ABSOLUTE.fullmatch(text):
                return cls(tuple(text.decode("ascii")[1:].split("/")))
        elif base is not None and len(text) <= XENSTORE_REL_PATH_MAX and _RELATIVE.fullmatch(text):
            return cls(base.names + tuple(text.decode("ascii").split("/")))
        raise StoreError(XsdError.EINVAL)

    @property
    def parent(self) -> Path:
        """The path one name shorter; the root's is the root."""
        return Path(self.names[:-1])

    def child(self, name: str) -> Path:
        return Path((*self.names, name))

    def is_within(self, other: Path) -> bool:
        """Whether this path is `other` or below it: "child" in the words of the protocol."""
        return self.names[: len(other.names)] == other.names

    def relative_to(self, base: Path) -> str:
        """The text of this path seen from `base`.  Precondition: strictly below it."""
        return "/".join(self.names[len(base.names) :])

    def __str__(self) -> str:
        return "/" + "/".join(self.names)

    def __lt__(self, other: Path) -> bool:
        return self.names < other.names


@dataclass(frozen=True, slots=True)
class Special:
    """A watchable name that is no path; the store itself makes its events."""

    text: str

    def __str__(self) -> str:
        return self.text


Name = Path | Special

ROOT: Final = Path()
INTRODUCE_DOMAIN: Final = Special("@introduceDomain")
RELEASE_DOMAIN: Final = Special("@releaseDomain")


def parse_name(text: bytes, base: Path) -> Name:
    """What `text` names for a watch.  Raises StoreError(EINVAL) as Path.parse does."""
    if text[:1] == b"@":
        if len(text) <= XENSTORE_ABS_PATH_MAX and _SPECIAL.fullmatch(text):
            return Special(text.decode("ascii"))
        raise StoreError(XsdError.EINVAL)
    return Path.parse(text, base)


def domain_path(domid: int) -> Path:
    """The base of a domain's relative paths, /local/domain/<domid>."""
    return Path(("local", "domain", str(domid)))
