"""One of a guest's rings of bytes, and the page that has the indices of all: see agent/rings.h for the layout.

The guest writes what it likes into the pages: its index is loaded once, checked, then used; ours is kept here, and only
written there.  Nothing here knows of event channels: who moves bytes asks whether the guest waits for that.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from xenia.rings.barrier import memory_barrier
from xenia.rings.pipe import Pipe

PAGE_SIZE: Final = 4096
RING_PAGES: Final = 64
RING_SIZE: Final = RING_PAGES * PAGE_SIZE
NR_RINGS: Final = 3
OUT, ERR, IN = range(NR_RINGS)
NR_WORDS: Final = 64  # that the host may be ahead of the guest

_PROD, _CONS, _PROD_EVENT, _CONS_EVENT, _WORDS = range(5)
_INPUT_ENDED: Final = NR_RINGS * _WORDS
_REFS: Final = _INPUT_ENDED + 1
_HOST_PROD: Final = _REFS + NR_RINGS * RING_PAGES
_HOST_CONS: Final = _HOST_PROD + 1
_HOST_WORDS: Final = _HOST_CONS + 1
_STATE: Final = _HOST_WORDS + NR_WORDS
_STATUS: Final = _STATE + 1
_ALIVE: Final = _STATUS + 1


class State(IntEnum):
    """What has become of a command that was asked for while the guest runs."""

    WAITS = 0
    RUNS = 1
    HAS_EXITED = 2
    WAS_KILLED = 3


class FirstPage:
    """The page with the indices, but for these; what it says of a command was asked for while the guest runs."""

    def __init__(self, page: memoryview) -> None:
        self._words = page.cast("I")
        self._prod = 0

    def close(self) -> None:
        """Let go of the page."""
        self._words.release()

    @property
    def references(self) -> list[int]:
        """The grant references of the rings' pages, ring by ring."""
        return list(self._words[_REFS : _REFS + NR_RINGS * RING_PAGES])

    def end_input(self) -> None:
        """Say that no more input comes, after what is in its ring."""
        memory_barrier()  # the input before its end
        self._words[_INPUT_ENDED] = 1

    @property
    def is_served(self) -> bool:
        """Whether somebody in the guest serves the command."""
        return bool(self._words[_ALIVE] & 0xFF)

    @property
    def state(self) -> tuple[int, int]:
        """The state, and the status or signal with which it ended; what the guest wrote before is there then."""
        state = self._words[_STATE]
        memory_barrier()  # the state before what it promises
        return state, self._words[_STATUS]

    def say(self, word: int, *, is_last: bool = False) -> bool:
        """Say a word of the host's; whether there was room.  There is for two last words, whatever was said before."""
        if (self._prod - self._words[_HOST_CONS]) & 0xFFFFFFFF >= (NR_WORDS if is_last else NR_WORDS - 2):
            return False
        self._words[_HOST_WORDS + self._prod % NR_WORDS] = word
        memory_barrier()  # the word before its index
        self._prod = (self._prod + 1) & 0xFFFFFFFF
        self._words[_HOST_PROD] = self._prod
        return True


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

    def has_taken(self, count: int) -> bool:
        """Whether the guest has taken the first `count` bytes; an event once it has."""
        if (self._words[_CONS] - count) & 0xFFFFFFFF < 1 << 31:
            return True
        self._words[_CONS_EVENT] = count
        memory_barrier()  # that before the look on which we sleep
        return (self._words[_CONS] - count) & 0xFFFFFFFF < 1 << 31

    def produce(self, count: int) -> bool:
        """Give the guest the first `count` bytes; whether it is to be notified."""
        return self._move(_PROD, _PROD_EVENT, count)
