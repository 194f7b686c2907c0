"""The two ways in which a client of the store can be wrong."""

from __future__ import annotations

from xenia.abi.xs_wire import XsdError


class StoreError(Exception):
    """A request that is refused; `error` is what the ERROR reply names.  The connection lives on."""

    def __init__(self, error: XsdError) -> None:
        super().__init__(error.name)
        self.error = error


class ProtocolError(Exception):
    """Bytes that are no xenstore message.  The connection ends."""
