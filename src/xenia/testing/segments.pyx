"""Frames cut and made one again, for tests."""

from xenia.net.coalesce cimport Coalesced, coalesce
from xenia.net.segment cimport Segments, segment_begin, segment_next
from xenia.testing.net cimport Batch, packet_of

from xenia.testing.packet import Packet


def segmented(packet: Packet, most_bytes: int = 0, takes: int = 0) -> list[Packet] | None:
    """What it is cut to; None: it cannot be."""
    cdef Batch batch = Batch([packet])
    cdef Segments cut
    cdef int index
    made = []
    if not segment_begin(&cut, batch.frames, most_bytes, takes):
        return None
    while segment_next(&cut):
        made += [packet_of(&cut.frames[index]) for index in range(cut.count)]
    return made


def coalesced(packets: list[Packet]) -> list[Packet]:
    """What a batch of them becomes."""
    cdef Batch batch = Batch(packets)
    cdef Coalesced joined
    cdef int index
    coalesce(&joined, batch.frames, batch.count)
    return [packet_of(&joined.frames[index]) for index in range(joined.count)]
