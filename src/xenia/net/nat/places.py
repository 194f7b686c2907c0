"""Places of which a network has few, and each of its guests wants one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)


class NoPlace(Exception):
    """There is none for this guest."""


def find_place(held: Mapping[Key, bytes], mac: bytes, most: int, most_of_one: int) -> Key | None:
    """Whose place a guest takes that wants one more: None, where one is free.

    held          who has which, by MAC, the oldest ones first
    most          of all together
    most_of_one   of each

    Where all are taken, the oldest one of who has the most is given up for a guest that has fewer: however many flood,
    each has as many as any other.  NoPlace where this one has its own already.
    """
    counts = Counter(held.values())
    if counts[mac] >= most_of_one:
        raise NoPlace
    if len(held) < most:
        return None
    greatest, count = counts.most_common(1)[0]
    if count <= counts[mac] + 1:
        raise NoPlace
    return next(key for key, owner in held.items() if owner == greatest)
