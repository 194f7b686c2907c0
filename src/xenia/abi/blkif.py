"""public/io/blkif.h: what is said about a block device in xenstore, and the numbers of its requests."""

from __future__ import annotations

import re
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


# By name as Linux has it, and by number.
_LETTERED: Final = re.compile(r"(xvd|sd|hd)([a-z]{1,2})([0-9]{0,3})")
_NUMBERED: Final = re.compile(r"d([0-9]{1,7})(?:p([0-9]{1,3}))?")


def device_number(name: str) -> int:
    """The number of a virtual device (xen-vbd-interface(7)): xvda, xvdb2, sda1, hdc, d0p1.  ValueError for others."""
    kind, disk, partition = _device(name)
    if kind == "xvd" and disk < 16 and partition < 16:
        return 202 << 8 | disk << 4 | partition
    if kind == "xvd" and disk < 1 << 20 and partition < 256:
        return 1 << 28 | disk << 8 | partition
    if kind == "sd" and disk < 16 and partition < 16:
        return 8 << 8 | disk << 4 | partition
    if kind == "hd" and disk < 4 and partition < 64:
        return (3, 22)[disk >> 1] << 8 | (disk & 1) << 6 | partition
    raise ValueError(name)


def in_one_place(name: str, other: str) -> bool:
    """Whether guests have one place for two virtual devices: xvda, sda, hda and d0 are one disk, xvda1 a part of it."""
    (_, disk, partition), (_, other_disk, other_partition) = _device(name), _device(other)
    return disk == other_disk and (partition == other_partition or not partition or not other_partition)


def _device(name: str) -> tuple[str, int, int]:
    """Kind, disk and partition; partition 0 is the whole disk."""
    if match := _LETTERED.fullmatch(name):
        disk = 0
        for letter in match[2]:
            disk = disk * 26 + ord(letter) - ord("a") + 1
        return match[1], disk - 1, int(match[3] or 0)
    if match := _NUMBERED.fullmatch(name):
        return "xvd", int(match[1]), int(match[2] or 0)
    raise ValueError(name)
