"""The backend's end of a console page, struct xencons_interface of public/io/console.h.

The guest writes what it likes into the page: each index is loaded once, checked, then used.  Names are the guest's:
it reads `in` and writes `out`.  Nothing here knows of event channels: who moves bytes notifies.
"""

from __future__ import annotations

from typing import Final

from xenia.abi import console
from xenia.abi.console import IN_SIZE, OUT_SIZE
from xenia.rings.barrier import memory_barrier
from xenia.rings.fault import RingFault

_IN_CONS: Final = 0
_IN_PROD: Final = 1
_OUT_CONS: Final = 2
_OUT_PROD: Final = 3


class ConsoleRing:
    """The page of one console."""

    def __init__(self, page: memoryview) -> None:
        """Precondition: `page` is writable bytes, at least INTERFACE_SIZE of them."""
        self._in = page[console.IN_OFFSET : console.IN_OFFSET + IN_SIZE]
        self._out = page[console.OUT_OFFSET : console.OUT_OFFSET + OUT_SIZE]
        self._words = page[console.IN_CONS_OFFSET : console.INTERFACE_SIZE].cast("I")

    def close(self) -> None:
        """Let go of the page.  Nothing else may be called afterwards."""
        for view in (self._in, self._out, self._words):
            view.release()

    @property
    def has_output(self) -> bool:
        """Whether the guest has written anything, or at least says so."""
        return bool(self._words[_OUT_CONS] != self._words[_OUT_PROD])

    def take(self) -> bytes:
        """All bytes the guest has written, at most OUT_SIZE.  Raises RingFault."""
        words = self._words
        cons, prod = words[_OUT_CONS], words[_OUT_PROD]
        filled = (prod - cons) & 0xFFFFFFFF
        if not filled:
            return b""
        if filled > OUT_SIZE:
            raise RingFault(f"out_prod {prod:#x} is {filled} bytes ahead of out_cons {cons:#x}")
        memory_barrier()  # the bytes after the index that promises them
        start = cons % OUT_SIZE
        data = bytes(self._out[start : start + filled])
        if len(data) < filled:
            data += self._out[: filled - len(data)]
        memory_barrier()  # the bytes before their room is given back
        words[_OUT_CONS] = prod
        memory_barrier()  # the index before who sleeps on it looks for more
        return data

    def put(self, data: bytes) -> int:
        """Give the guest input, as much as there is room for; answers how much.  Raises RingFault."""
        words = self._words
        cons, prod = words[_IN_CONS], words[_IN_PROD]
        filled = (prod - cons) & 0xFFFFFFFF
        if filled > IN_SIZE:
            raise RingFault(f"in_prod {prod:#x} is {filled} bytes ahead of in_cons {cons:#x}")
        count = min(len(data), IN_SIZE - filled)
        if not count:
            return 0
        memory_barrier()  # the room before it is used
        start = prod % IN_SIZE
        first = min(count, IN_SIZE - start)
        self._in[start : start + first] = data[:first]
        self._in[: count - first] = data[first:count]
        memory_barrier()  # the bytes before the index that promises them
        words[_IN_PROD] = (prod + count) & 0xFFFFFFFF
        memory_barrier()
        return count
