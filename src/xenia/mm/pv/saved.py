"""A PV domain's memory as a value: its pages by page number, in which no frame number is left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from xenia.persist import State

# SavedMemory.types: the level of a page table, 1 to 4, or 0; and
PINNED: Final = 8
ZEROES: Final = 16  # the page holds zeros only, and is not among the contents


@dataclass(frozen=True)
class SavedMemory(State):
    """What a guest had, as it can be put into any frames.

    pfns        64-bit page numbers, in order, as bytes
    types       a byte for each: what it was used as, pinned or not
    contents    the pages that are not ZEROES, in order.  In entries of page tables, page numbers stand for frames
    """

    VERSION: ClassVar[int] = 1

    max_pages: int
    pfns: bytes
    types: bytes
    contents: bytes
