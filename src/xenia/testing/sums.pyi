"""Checksums and heads of frames, for tests."""

from xenia.testing.packet import Packet

UNKNOWN: int
RIGHT: int
WRONG: int

def checksum(data: bytes) -> bytes:
    """Of those bytes, as it is stored."""
    ...

def checksum_of(packet: Packet, start: int, end: int) -> bytes:
    """Of a part of a packet in two pieces, as it is stored."""
    ...

def bytes_a_second(size: int, seconds: float = ...) -> float:
    """How fast so many bytes are summed again and again."""
    ...

def verified(packet: Packet) -> int:
    """UNKNOWN, RIGHT or WRONG."""
    ...

class Own:
    """A packet whose head is its own.  ValueError: it cannot be had."""
    def __init__(self, packet: Packet) -> None: ...
    def fill(self) -> bool:
        """Whether the checksum that was asked for is filled in."""
        ...
    def tag(self, tci: int) -> None:
        """Put a VLAN tag in."""
        ...
    def untag(self) -> None:
        """Take one away."""
        ...
    @property
    def packet(self) -> Packet:
        """What it is now."""
        ...
