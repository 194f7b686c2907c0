"""The store's end of a domain's xenstore page, struct xenstore_domain_interface of public/io/xs_wire.h: two pipes, and
the words about the connection itself, which the guest writes as it likes as well.
"""

from __future__ import annotations

from typing import Final

from xenia.abi import xs_wire
from xenia.abi.xs_wire import XENSTORE_RING_SIZE, ConnectionState, RingError, ServerFeature
from xenia.rings.barrier import memory_barrier
from xenia.rings.pipe import Reader, Writer

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
    """The page of one domain: `requests` come from it, `responses` go to it."""

    def __init__(self, page: memoryview) -> None:
        """Precondition: `page` is writable bytes, at least INTERFACE_SIZE of them."""

        def words() -> memoryview:
            return page[_WORDS_OFFSET : xs_wire.INTERFACE_SIZE].cast("I")

        requests = page[xs_wire.REQ_OFFSET : xs_wire.REQ_OFFSET + XENSTORE_RING_SIZE]
        responses = page[xs_wire.RSP_OFFSET : xs_wire.RSP_OFFSET + XENSTORE_RING_SIZE]
        self.requests = Reader(requests, words(), prod=_REQ_PROD, cons=_REQ_CONS)
        self.responses = Writer(responses, words(), prod=_RSP_PROD, cons=_RSP_CONS)
        self._words = words()

    def close(self) -> None:
        """Let go of the page.  Nothing else may be called afterwards."""
        for held in (self.requests, self.responses):
            held.close()
        self._words.release()

    def announce(self) -> None:
        """Tell the guest what this server can do with the page."""
        self._words[_SERVER_FEATURES] = int(ServerFeature.RECONNECTION | ServerFeature.ERROR)

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
