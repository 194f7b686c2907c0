"""The start of day of a guest that was saved: what it finds changed when it runs again, in other frames.

A PV guest takes part.  Before it suspends itself (SCHEDOP_shutdown, SHUTDOWN_suspend) it lets go of all that is not its
own, writes page numbers in place of the two frame numbers in its start_info, and passes that page's frame in rdx.  When
the call returns 0, it is somewhere else: a new start_info, a new shared_info, channels for its store and console only,
its p2m list with the new frames, and everything else is its own to set up again.

The p2m list is found as the guest published it: mapped at shared_info's p2m_vaddr by the tables of p2m_cr3.  Entries of
pages that the guest has must be those pages' frames; others are its own business, and left alone.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import ClassVar, Final

from xenia.abi.start_info import MAGIC, START_INFO
from xenia.abi.xen import StartFlags
from xenia.errors import ConfigError
from xenia.persist import State

PAGE_SIZE: Final = 4096
ENTRIES: Final = PAGE_SIZE // 8


@dataclass(frozen=True)
class SavedStart(State):
    """Where a suspended guest keeps what is written anew for it, as page numbers.

    p2m         the pages of its p2m list, as 64-bit numbers
    """

    VERSION: ClassVar[int] = 1

    start_info: int
    store: int
    console: int
    p2m: bytes


def check_start_info(page: memoryview, store: int, console: int) -> None:
    """A suspended guest's start_info names the pages of its store and console.  ConfigError where it does not."""
    values = START_INFO.unpack_from(page)
    if values[0].rstrip(b"\0") != MAGIC or (values[4], values[6]) != (store, console):
        raise ConfigError("the guest cannot be saved: it suspended without the frame of its start_info in rdx")


def write_start_info(
    page: memoryview,
    *,
    nr_pages: int,
    shared_info_maddr: int,
    store_mfn: int,
    store_port: int,
    console_mfn: int,
    console_port: int,
) -> None:
    """What a guest that runs again finds there."""
    values = list(START_INFO.unpack_from(page))
    flags = values[3] & StartFlags.VIRT_P2M_4TOOLS
    values[1:8] = [nr_pages, shared_info_maddr, flags, store_mfn, store_port, console_mfn, console_port]
    START_INFO.pack_into(page, 0, *values)


def check_p2m(list_page: memoryview, first: int, frames: array[int]) -> None:
    """A page of the p2m list, from page number `first` on, says of the guest's pages where they are.

    frames      by page number, 0 where the guest has none
    ConfigError where it says otherwise.
    """
    entries = list_page.cast("Q")
    for index, frame in enumerate(frames[first : first + ENTRIES]):
        if frame and entries[index] != frame:
            raise ConfigError(f"the guest cannot be saved: its p2m list is wrong about page {first + index:#x}")


def write_p2m(list_page: memoryview, first: int, frames: array[int]) -> None:
    """Put the new frames into a page of the p2m list; `frames` as in `check_p2m`."""
    entries = list_page.cast("Q")
    for index, frame in enumerate(frames[first : first + ENTRIES]):
        if frame:
            entries[index] = frame
