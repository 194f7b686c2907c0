"""The names of virtual block devices, and their numbers: xen-vbd-interface(7)."""

from __future__ import annotations

import re
from typing import Final

# As Linux has it, and by number.
_LETTERED: Final = re.compile(r"(xvd|sd|hd)([a-z]{1,2})([0-9]{0,3})")
_NUMBERED: Final = re.compile(r"d([0-9]{1,7})(?:p([0-9]{1,3}))?")


def device_number(name: str) -> int:
    """The number of a virtual device: xvda, xvdb2, sda1, hdc, d0p1.  ValueError for others."""
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
