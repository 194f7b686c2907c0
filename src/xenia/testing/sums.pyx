"""Checksums and heads of frames, for tests."""

from libc.stdint cimport uint16_t
from xenia.net.checksum cimport checksum_verify, fold, sum_bytes, sum_parts

from xenia.net.head cimport OwnFrame, own_checksum, own_frame, own_tag, own_untag
from xenia.machine.loop cimport monotonic
from xenia.net.parse cimport Headers, parse_frame
from xenia.testing.net cimport Batch, packet_of

from xenia.testing.packet import Packet

UNKNOWN, RIGHT, WRONG = 0, 1, 2


def checksum(data: bytes) -> bytes:
    """Of those bytes, as it is stored."""
    cdef const char *start = data
    cdef uint16_t found = ~fold(sum_bytes(start, len(data), 0))
    return (<char *>&found)[:2]


def checksum_of(packet: Packet, start: int, end: int) -> bytes:
    """Of a part of a packet in two pieces, as it is stored."""
    cdef Batch batch = Batch([packet])
    cdef uint16_t found = ~fold(sum_parts(batch.frames, start, end, 0))
    return (<char *>&found)[:2]


def bytes_a_second(size: int, seconds: float = 0.2) -> float:
    """How fast so many bytes are summed again and again."""
    cdef const char *start
    cdef size_t count = size
    cdef long until, begun = monotonic(), rounds = 0, sum = 0
    data = bytes(size)
    start = data
    until = begun + <long>(seconds * 1e9)
    while monotonic() < until:
        for _ in range(16):
            sum += sum_bytes(start, count, sum)
        rounds += 16
    return rounds * size / (monotonic() - begun) * 1e9


def verified(packet: Packet) -> int:
    """UNKNOWN, RIGHT or WRONG."""
    cdef Batch batch = Batch([packet])
    cdef Headers headers
    parse_frame(batch.frames, &headers)
    return checksum_verify(batch.frames, &headers)


cdef class Own:
    """A packet whose head is its own.  ValueError: it cannot be had."""

    cdef Batch batch
    cdef OwnFrame own

    def __init__(self, packet: Packet) -> None:
        self.batch = Batch([packet])
        if not own_frame(&self.own, self.batch.frames):
            raise ValueError("too many parts")

    def fill(self) -> bool:
        """Whether the checksum that was asked for is filled in."""
        return own_checksum(&self.own)

    def tag(self, tci: int) -> None:
        """Put a VLAN tag in."""
        own_tag(&self.own, tci)

    def untag(self) -> None:
        """Take one away."""
        own_untag(&self.own)

    @property
    def packet(self) -> Packet:
        """What it is now."""
        return packet_of(&self.own.frame)
