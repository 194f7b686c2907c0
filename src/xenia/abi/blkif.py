"""public/io/blkif.h: what is said about a block device in xenstore, and the numbers of its requests."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

SECTOR_SIZE: Final = 512  # of sector numbers in requests and segments, whatever the device's own
REQUEST_SIZE: Final = 112  # of an entry in a 64-bit guest's ring
MAX_SEGMENTS_PER_REQUEST: Final = 11
PROTOCOL: Final = "x86_64-abi"  # XEN_IO_PROTO_ABI_X86_64


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
