"""How a stretch of a qcow2 image is stored."""

from __future__ import annotations

from typing import NamedTuple

from xenia.storage.qcow2.compression import COMPRESSED
from xenia.storage.qcow2.mapping import OFFSET, ZERO


class Run(NamedTuple):
    """Bytes of the image that are stored in the same manner, and, where they have a place, next to each other."""

    offset: int
    length: int
    entry: int  # the L2 entry of the first cluster; 0: not allocated

    @property
    def plain(self) -> bool:
        """Stored as they are."""
        return self.entry & OFFSET != 0 and not self.entry & (COMPRESSED | ZERO)

    @property
    def zero(self) -> bool:
        """Marked as zeroes; in the entry of a compressed cluster that bit is a part of its place."""
        return self.entry & (COMPRESSED | ZERO) == ZERO


def alike(entry: int, other: int) -> bool:
    """Whether two clusters without data read in the same manner."""
    return (
        not entry & COMPRESSED
        and bool(entry & ZERO) == bool(other & ZERO)
        and (bool(entry & ZERO) or not entry & OFFSET)
    )
