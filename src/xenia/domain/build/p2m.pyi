"""The machine-to-physical map, filled for a new domain: frame numbers by the million, hence compiled."""

from typing_extensions import Buffer

def fill_m2p(m2p: Buffer, frames: Buffer) -> None:
    """Set m2p[frames[pfn]] = pfn for every pfn; ValueError, with nothing set, if a frame lies outside of the M2P."""
    ...
