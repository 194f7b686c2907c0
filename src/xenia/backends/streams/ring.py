"""One of a guest's rings of bytes, and the page that has the indices of all: see agent/rings.h for the layout.

The guest writes what it likes into the pages: its index is loaded once, checked, then used; ours is kept here, and only
written there.  Nothing here knows of event channels: who moves bytes asks whether the guest waits for that.
"""

from __future__ import annotations

from typing import Final

from xenia.rings.barrier import memory_barrier
from xenia.rings.pipe import Pipe

PAGE_SIZE: Final = 4096
RING_PAGES: Final = 64
RING_SIZE: Final = RING_PAGES * PAGE_SIZE
NR_RINGS: Final = 3
OUT, ERR, IN = range(NR_RINGS)

_PROD, _CONS, _PROD_EVENT, _CONS_EVENT, _WORDS = range(5)
_INPUT_ENDED: Final = NR_RINGS * _WORDS
_REFS: Final = _INPUT_ENDED + 1


def references(page: memoryview) -> list[int]:
    """The grant references of the rings' pages, ring by ring.  `page` is the first, the one with the indices."""
    with page.cast("I") as words:
        return list(words[_REFS : _REFS + NR_RINGS * RING_PAGES])


def end_input(page: memoryview) -> None:
    """Say that no more input comes, after what is in its ring."""
    memory_barrier()  # the input before its end
    with page.cast("I") as words:
        words[_INPUT_ENDED] = 1


class _Ring(Pipe):
    """One ring; our own index is `_own`."""

    def __init__(self, page: memoryview, data: memoryview, index: int) -> None:
        with page.cast("I") as words:
            ours = words[index * _WORDS : (index + 1) * _WORDS]
        super().__init__(data[index * RING_SIZE : (index + 1) * RING_SIZE], ours, prod=_PROD, cons=_CONS)
        self._own = 0

    def _move(self, word: int, event: int, count: int) -> bool:
        """Move our index; whether the guest waits for that."""
        memory_barrier()  # the bytes before the index
        self._own = (self._own + count) & 0xFFFFFFFF
        self._words[word] = self._own
        memory_barrier()  # the index before whether somebody sleeps on it
        return (self._own - self._words[event]) & 0xFFFFFFFF < count


class Reader(_Ring):
    """A ring that the guest fills."""

    def _used(self) -> int:
        return self.used(self._words[_PROD], self._own)

    def readable(self) -> list[memoryview]:
        """The bytes that the guest has written, in order; [] when there are none.  Raises RingFault."""
        used = self._used()
        if not used:
            self._words[_PROD_EVENT] = (self._own + 1) & 0xFFFFFFFF
            memory_barrier()  # that before the look on which we sleep
            used = self._used()
        memory_barrier()  # the index before the bytes that it promises
        return self.run(self._own, used) if used else []

    def consume(self, count: int) -> bool:
        """Give the room of the first `count` bytes back; whether the guest is to be notified."""
        return self._move(_CONS, _CONS_EVENT, count)


class Writer(_Ring):
    """A ring that the guest empties."""

    def _used(self) -> int:
        return self.used(self._own, self._words[_CONS])

    def writable(self) -> list[memoryview]:
        """The room for more bytes; [] when there is none, until half of it is free.  Raises RingFault."""
        room = RING_SIZE - self._used()
        if not room:
            self._words[_CONS_EVENT] = (self._own - RING_SIZE // 2) & 0xFFFFFFFF
            memory_barrier()  # that before the look on which we sleep
            room = RING_SIZE - self._used()
        memory_barrier()  # the room before it is used
        return self.run(self._own, room) if room else []

    def produce(self, count: int) -> bool:
        """Give the guest the first `count` bytes; whether it is to be notified."""
        return self._move(_PROD, _PROD_EVENT, count)
