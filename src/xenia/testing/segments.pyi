"""Frames cut and made one again, for tests."""

from xenia.testing.packet import Packet

def segmented(packet: Packet, most_bytes: int = 0, takes: int = 0) -> list[Packet] | None:
    """What it is cut to; None: it cannot be."""
    ...

def coalesced(packets: list[Packet]) -> list[Packet]:
    """What a batch of them becomes."""
    ...
