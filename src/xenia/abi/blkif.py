"""public/io/blkif.h.

Written by scripts/abi.py from blkif.pxd: do not edit.
"""

from enum import IntEnum, IntFlag
from struct import Struct
from typing import Final


class Operation(IntEnum):
    """BLKIF_OP_*."""

    READ = 0
    WRITE = 1
    WRITE_BARRIER = 2
    FLUSH_DISKCACHE = 3
    DISCARD = 5
    INDIRECT = 6


class Status(IntEnum):
    """BLKIF_RSP_*."""

    EOPNOTSUPP = -2
    ERROR = -1
    OKAY = 0


class Info(IntFlag):
    """VDISK_*."""

    CDROM = 1
    REMOVABLE = 2
    READONLY = 4


BLKIF_DISCARD_SECURE: Final = 1 << 0
BLKIF_MAX_SEGMENTS_PER_REQUEST: Final = 11
BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST: Final = 8
BLKIF_SECTOR_SIZE: Final = 512  # of sector numbers in requests and segments, whatever the device's own
XEN_IO_PROTO_ABI_X86_64: Final = "x86_64-abi"

BLKIF_REQUEST_SEGMENT: Final = Struct("<IBB2x")  # gref, first_sect, last_sect
BLKIF_REQUEST: Final = Struct("<BBH4xQQ88s")  # operation, nr_segments, handle, id, sector_number, seg
BLKIF_REQUEST_DISCARD: Final = Struct("<BBH4xQQQ")  # operation, flag, handle, id, sector_number, nr_sectors
# operation, indirect_op, nr_segments, id, sector_number, handle, indirect_grefs
BLKIF_REQUEST_INDIRECT: Final = Struct("<BBH4xQQHxx8I4x")
BLKIF_RESPONSE: Final = Struct("<QBxh4x")  # id, operation, status
