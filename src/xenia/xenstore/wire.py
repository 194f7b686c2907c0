"""Messages of the xenstore protocol, and the parser that finds them in bytes.

Sans-IO: bytes go in with `feed`, and `poll` says what they make: a `Packet`, or `Need` and how many bytes it waits
for.  A stream that can be no protocol message raises ProtocolError, then and ever after; nothing else is ever raised.
A parser holds no more than what it was fed and was not polled for.
"""

from __future__ import annotations

from typing import NamedTuple

from xenia.abi.xs_wire import XENSTORE_PAYLOAD_MAX, XSD_SOCKMSG, MessageType, XsdError
from xenia.xenstore.error import ProtocolError


class Packet(NamedTuple):
    """One message in either direction: struct xsd_sockmsg and what follows it.  The type of a request may be any
    number."""

    type: int
    req_id: int
    tx_id: int
    payload: bytes

    def encode(self) -> bytes:
        """The bytes of the message.  Precondition: the payload has at most XENSTORE_PAYLOAD_MAX bytes."""
        return XSD_SOCKMSG.pack(self.type, self.req_id, self.tx_id, len(self.payload)) + self.payload

    def reply(self, payload: bytes) -> Packet:
        """The answer to this request."""
        return Packet(self.type, self.req_id, self.tx_id, payload)

    def refusal(self, error: XsdError) -> Packet:
        """The ERROR answer to this request."""
        return Packet(MessageType.ERROR, self.req_id, self.tx_id, error.name.encode("ascii") + b"\0")


class Need(NamedTuple):
    """The parser waits for at least so many bytes more."""

    missing: int


def watch_event(path: bytes, token: bytes) -> Packet:
    """The message that tells a client of an event; it answers no request."""
    return Packet(MessageType.WATCH_EVENT, 0, 0, b"%b\0%b\0" % (path, token))


class Parser:
    """Turns the bytes of one stream into packets."""

    def __init__(self, unparsed: bytes = b"", failure: str | None = None) -> None:
        """One that begins with these bytes, or broken, goes on as another whose they are."""
        self._buffer = bytearray(unparsed)
        self._failure = failure

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        if self._failure is None:
            self._buffer += data

    def poll(self) -> Packet | Need:
        """The next message, or what is missing of it.  Raises ProtocolError once the stream is broken."""
        if self._failure is not None:
            raise ProtocolError(self._failure)
        buffer = self._buffer
        if len(buffer) < XSD_SOCKMSG.size:
            return Need(XSD_SOCKMSG.size - len(buffer))
        kind, req_id, tx_id, length = XSD_SOCKMSG.unpack_from(buffer)
        if length > XENSTORE_PAYLOAD_MAX:
            self._failure = f"a payload of {length} bytes, more than {XENSTORE_PAYLOAD_MAX}"
            buffer.clear()
            raise ProtocolError(self._failure)
        end = XSD_SOCKMSG.size + length
        if len(buffer) < end:
            return Need(end - len(buffer))
        payload = bytes(buffer[XSD_SOCKMSG.size : end])
        del buffer[:end]
        return Packet(kind, req_id, tx_id, payload)

    @property
    def failure(self) -> str | None:
        """Why the stream is broken."""
        return self._failure

    @property
    def unparsed(self) -> bytes:
        """The bytes that were fed and that no packet has taken yet."""
        return bytes(self._buffer)

    @property
    def pending(self) -> int:
        """How many bytes were fed that no packet has taken yet."""
        return len(self._buffer)
