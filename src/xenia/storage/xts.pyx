"""The part of AES-XTS around the block cipher: tweaks, and exclusive or, for many sectors at once.

XTS (IEEE 1619) encrypts block j of sector s as E1(P ^ T) ^ T, T being E2(s) times alpha^j in GF(2^128).  All E1 of a
request are one call to the cipher in ECB mode, and all E2 another; what is left is here.
"""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy


def sector_numbers(unsigned char[::1] into not None, uint64_t first, uint64_t step) -> None:
    """The tweaks before encryption: little-endian numbers of 16 bytes, `step` apart."""
    cdef Py_ssize_t at, length = into.shape[0]
    cdef uint64_t number[2]
    number[0] = first
    number[1] = 0
    with nogil:
        for at in range(0, length - 15, 16):
            memcpy(&into[at], number, 16)
            number[0] += step


def whiten(
    unsigned char[::1] into not None,
    const unsigned char[::1] data not None,
    const unsigned char[::1] tweaks not None,
    Py_ssize_t sector_size,
) -> None:
    """Combine `data`, whole sectors, with the tweaks of its blocks, given the first one of each sector.

    Precondition: `into` is as long as `data` (and may be it), and there is a tweak for each sector.
    """
    cdef Py_ssize_t at, end, sector, sectors = data.shape[0] // sector_size
    cdef uint64_t tweak[2]
    cdef uint64_t block[2]
    cdef uint64_t carry
    if (into.shape[0] != data.shape[0] or data.shape[0] % sector_size or tweaks.shape[0] < sectors * 16
            or sector_size % 16):
        raise ValueError("lengths do not fit each other")
    with nogil:
        for sector in range(sectors):
            memcpy(tweak, &tweaks[sector * 16], 16)
            at = sector * sector_size
            end = at + sector_size
            while at < end:
                memcpy(block, &data[at], 16)
                block[0] ^= tweak[0]
                block[1] ^= tweak[1]
                memcpy(&into[at], block, 16)
                carry = tweak[1] >> 63
                tweak[1] = tweak[1] << 1 | tweak[0] >> 63
                tweak[0] = tweak[0] << 1 ^ carry * 0x87
                at += 16
