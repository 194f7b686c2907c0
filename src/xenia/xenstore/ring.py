"""The store's end of a domain's xenstore page, struct xenstore_domain_interface of public/io/xs_wire.h.

Both ends write this page, and the guest writes what it likes.  Each index is loaded once, checked, then used; indices
that are further apart than the ring is long raise RingFault, so no answer is ever longer than the ring and no access
leaves it.  A side that is about to sleep must have published its own index before it looks at the other's for the
last time, hence the barriers.  Nothing here knows of event channels: who moves bytes notifies.
"""

from __future__ import annotations

from typing import Final

from xenia.abi import xs_wire
from xenia.abi.xs_wire import XENSTORE_RING_SIZE, ConnectionState, RingError, ServerFeature
from xenia.rings.barrier import memory_barrier
from xenia.rings.fault import RingFault

_WORDS_OFFSET: Final = xs_wire.REQ_CONS_OFFSET


def _word(offset: int) -> int:
    return (offset - _WORDS_OFFSET) // 4


_REQ_CONS: Final = _word(xs_wire.REQ_CONS_OFFSET)
_REQ_PROD: Final = _word(xs_wire.REQ_PROD_OFFSET)
_RSP_CONS: Final = _word(xs_wire.RSP_CONS_OFFSET)
_RSP_PROD: Final = _word(xs_wire.RSP_PROD_OFFSET)
_SERVER_FEATURES: Final = _word(xs_wire.SERVER_FEATURES_OFFSET)
_CONNECTION: Final = _word(xs_wire.CONNECTION_OFFSET)
_ERROR: Final = _word(xs_wire.ERROR_OFFSET)


class StoreRing:
    """The page of one domain."""

    def __init__(self, page: memoryview) -> None:
        """Precondition: `page` is writable bytes, at least INTERFACE_SIZE of them."""
        self._req = page[xs_wire.REQ_OFFSET : xs_wire.REQ_OFFSET + XENSTORE_RING_SIZE]
        self._rsp = page[xs_wire.RSP_OFFSET : xs_wire.RSP_OFFSET + XENSTORE_RING_SIZE]
        self._words = page[_WORDS_OFFSET : xs_wire.INTERFACE_SIZE].cast("I")

    def close(self) -> None:
        """Let go of the page.  Nothing else may be called afterwards."""
        for view in (self._req, self._rsp, self._words):
            view.release()

    def announce(self) -> None:
        """Tell the guest what this server can do with the page."""
        self._words[_SERVER_FEATURES] = int(ServerFeature.RECONNECTION | ServerFeature.ERROR)

    def read(self) -> bytes:
        """Take all request bytes there are, at most XENSTORE_RING_SIZE.  Raises RingFault."""
        words = self._words
        cons, prod = words[_REQ_CONS], words[_REQ_PROD]
        filled = self._distance(prod, cons)
        if not filled:
            return b""
        memory_barrier()  # the bytes after the index that promises them
        start = cons % XENSTORE_RING_SIZE
        data = bytes(self._req[start : start + filled])
        if len(data) < filled:
            data += self._req[: filled - len(data)]
        memory_barrier()  # the bytes before their room is given back
        words[_REQ_CONS] = prod
        memory_barrier()
        return data

    def write(self, data: bytes) -> int:
        """Put response bytes, as many as there is room for; answers how many.  Raises RingFault."""
        words = self._words
        cons, prod = words[_RSP_CONS], words[_RSP_PROD]
        count = min(len(data), XENSTORE_RING_SIZE - self._distance(prod, cons))
        if not count:
            return 0
        memory_barrier()  # the room before it is used
        start = prod % XENSTORE_RING_SIZE
        first = min(count, XENSTORE_RING_SIZE - start)
        self._rsp[start : start + first] = data[:first]
        self._rsp[: count - first] = data[first:count]
        memory_barrier()  # the bytes before the index that promises them
        words[_RSP_PROD] = (prod + count) & 0xFFFFFFFF
        memory_barrier()
        return count

    @property
    def reconnect_requested(self) -> bool:
        return self._words[_CONNECTION] == ConnectionState.RECONNECT

    def reconnect(self) -> None:
        """Empty both rings and tell the guest that it may begin anew."""
        for word in (_REQ_CONS, _REQ_PROD, _RSP_CONS, _RSP_PROD):
            self._words[word] = 0
        self._words[_ERROR] = int(RingError.NONE)
        memory_barrier()
        self._words[_CONNECTION] = int(ConnectionState.CONNECTED)

    def fail(self, error: RingError) -> None:
        """Tell the guest why it is not served any more."""
        self._words[_ERROR] = int(error)

    @staticmethod
    def _distance(prod: int, cons: int) -> int:
        distance = (prod - cons) & 0xFFFFFFFF
        if distance > XENSTORE_RING_SIZE:
            raise RingFault(f"producer {prod:#x} is {distance} bytes ahead of consumer {cons:#x}")
        return distance
