"""GDB's remote serial protocol as bytes: packets, acknowledgements, the key that interrupts.

A packet is `$` data `#` and two hexadecimal digits, the sum of the data's bytes; in the data `}` escapes a byte, which
is 0x20 apart.  (GDB's manual, appendix E.)  Nothing of what a client says is believed, and no more of it is kept than a
packet may have.
"""

from __future__ import annotations

import select
import socket
from typing import Final

PACKET_SIZE: Final = 0x4000  # bytes between `$` and `#`
_ESCAPE: Final = 0x7D
_ESCAPED: Final = b"#$*}"
_INTERRUPT: Final = 0x03
_RECEIVE: Final = 4096

INTERRUPT: Final = b"\x03"
"""What `Packets.take` answers for the key that interrupts: no packet begins with it."""


class ProtocolError(Exception):
    """The client speaks something else."""


class Packets:
    """What comes, in packets."""

    def __init__(self) -> None:
        self._data = bytearray()
        self.acknowledges = True

    def feed(self, data: bytes) -> None:
        """More bytes.  ProtocolError where they cannot be a packet any more."""
        self._data += data
        if len(self._data) > 2 * PACKET_SIZE + 8 and b"#" not in self._data:
            raise ProtocolError("a packet without an end")

    def take(self) -> tuple[bytes | None, bytes]:
        """The next packet's data, INTERRUPT, or None where there is no whole one; and what acknowledges it."""
        data = self._data
        while data:
            if data[0] == _INTERRUPT:
                del data[0]
                return INTERRUPT, b""
            if data[0] != ord("$"):  # an acknowledgement, which a stream needs not, or noise
                del data[0]
                continue
            end = data.find(b"#")
            if end < 0 or len(data) < end + 3:
                return None, b""
            body, claimed = bytes(data[1:end]), bytes(data[end + 1 : end + 3])
            del data[: end + 3]
            if self.acknowledges and claimed.lower() != b"%02x" % checksum(body):
                return b"", b"-"  # it is sent again
            if len(body) > 2 * PACKET_SIZE:
                raise ProtocolError("a packet longer than was agreed")
            return unescaped(body), b"+" if self.acknowledges else b""
        return None, b""


def checksum(data: bytes) -> int:
    """The sum of the bytes, of which a packet carries eight bits."""
    return sum(data) & 0xFF


def unescaped(data: bytes) -> bytes:
    """Data of a packet, as it was meant."""
    if _ESCAPE not in data:
        return data
    found, escaped = bytearray(), False
    for byte in data:
        if escaped:
            found.append(byte ^ 0x20)
        elif byte != _ESCAPE:
            found.append(byte)
        escaped = byte == _ESCAPE and not escaped
    return bytes(found)


def packet(data: bytes) -> bytes:
    """A packet with that data."""
    if any(byte in data for byte in _ESCAPED):
        data = b"".join(bytes([_ESCAPE, byte ^ 0x20]) if byte in _ESCAPED else bytes([byte]) for byte in data)
    return b"$%b#%02x" % (data, checksum(data))


def readable(*files: int | socket.socket, seconds: float) -> list[int]:
    """The descriptors of those that can be read, or whose other end has gone, within so many seconds."""
    poll = select.poll()
    for file in files:
        poll.register(file, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll(seconds * 1000)]


def receive(client: socket.socket) -> bytes:
    """What is there to be read; nothing where the client has gone."""
    try:
        return client.recv(_RECEIVE)
    except BlockingIOError:
        return b"+"  # a wake-up for nothing: an acknowledgement says as much
    except OSError:
        return b""
