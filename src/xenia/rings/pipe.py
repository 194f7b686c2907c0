"""One end of a ring of bytes: a pipe between two that share memory and trust each other with nothing.

A pipe is `size` bytes of shared memory, a power of two, and two indices that count for ever and wrap at 2^32: who
writes moves `prod`, who reads moves `cons`.  The other end writes what it likes.  Each index is loaded once, checked,
then used; indices that are further apart than the ring is long raise RingFault, so nothing taken is ever longer than
the ring and no access leaves it.

An end that is about to sleep must have published its own index before it looks at the other's for the last time, hence
the barriers.  Nothing here knows of event channels: who moves bytes notifies.
"""

from __future__ import annotations

from xenia.rings.barrier import memory_barrier
from xenia.rings.fault import RingFault


class Pipe:
    """What both ends have: the memory, and the rule for the distance of two indices."""

    __slots__ = ("_cons", "_data", "_prod", "_words", "size")

    def __init__(self, data: memoryview, words: memoryview, prod: int, cons: int) -> None:
        """`data` is the ring's memory; `words`, of 32 bits, has its indices at `prod` and `cons`.  Both views are the
        pipe's own from now on."""
        self.size = len(data)
        self._data = data
        self._words = words
        self._prod = prod
        self._cons = cons

    def close(self) -> None:
        """Let go of the memory.  Nothing else may be called afterwards."""
        self._words.release()
        self._data.release()

    def used(self, prod: int, cons: int) -> int:
        """How many bytes lie between two indices.  Raises RingFault where that cannot be."""
        used = (prod - cons) & 0xFFFFFFFF
        if used > self.size:
            raise RingFault(f"prod {prod:#x} is {used} bytes ahead of cons {cons:#x}, in a ring of {self.size}")
        return used

    def run(self, index: int, length: int) -> list[memoryview]:
        """`length` bytes of the ring from an index on, in one part or two."""
        start = index % self.size
        rest = start + length - self.size
        parts = [self._data[start : start + length]]
        return parts if rest <= 0 else [*parts, self._data[:rest]]


class Reader(Pipe):
    """The end that takes, of a pipe whose indices are both in the shared words."""

    __slots__ = ()

    @property
    def has_bytes(self) -> bool:
        """Whether the other end has written anything, or at least says so."""
        return bool(self._words[self._cons] != self._words[self._prod])

    def take(self) -> bytes:
        """All bytes that are there, at most `size`.  Raises RingFault."""
        words = self._words
        cons, prod = words[self._cons], words[self._prod]
        used = self.used(prod, cons)
        if not used:
            return b""
        memory_barrier()  # the bytes after the index that promises them
        data = b"".join(self.run(cons, used))
        memory_barrier()  # the bytes before their room is given back
        words[self._cons] = prod
        memory_barrier()  # the index before who sleeps on it looks for more
        return data


class Writer(Pipe):
    """The end that puts, of a pipe whose indices are both in the shared words."""

    __slots__ = ()

    def put(self, data: bytes) -> int:
        """Write as many of the bytes as there is room for; answers how many.  Raises RingFault."""
        words = self._words
        cons, prod = words[self._cons], words[self._prod]
        count = min(len(data), self.size - self.used(prod, cons))
        if not count:
            return 0
        memory_barrier()  # the room before it is used
        at = 0
        for part in self.run(prod, count):
            part[:] = data[at : at + len(part)]
            at += len(part)
        memory_barrier()  # the bytes before the index that promises them
        words[self._prod] = (prod + count) & 0xFFFFFFFF
        memory_barrier()
        return count
