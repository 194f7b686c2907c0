"""The part of AES-XTS around the block cipher: tweaks, and exclusive or, for many sectors at once.

XTS (IEEE 1619) encrypts block j of sector s as E1(P ^ T) ^ T, T being E2(s) times alpha^j in GF(2^128).  All E1 of a
request are one call to the cipher in ECB mode, and all E2 another; what is left is here.
"""

from typing_extensions import Buffer

def sector_numbers(into: Buffer, first: int, step: int) -> None:
    """The tweaks before encryption: little-endian numbers of 16 bytes, `step` apart."""
    ...

def whiten(into: Buffer, data: Buffer, tweaks: Buffer, sector_size: int) -> None:
    """Combine `data`, whole sectors, with the tweaks of its blocks, given the first one of each sector.

    Precondition: `into` is as long as `data` (and may be it), and there is a tweak for each sector.
    """
    ...
