"""The part of a guest's memory where Linux keeps its own image, as it is mapped there."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Final

from xenia.errors import ConfigError

Read = Callable[[int, int], bytes]
"""Reads from a virtual address so many bytes, or as many as there are before something is not mapped."""

BASE: Final = 0xFFFFFFFF80000000  # __START_KERNEL_map
_END: Final = BASE + (1 << 30)  # KERNEL_IMAGE_SIZE
_PART: Final = 1 << 20
_STEP: Final = 1 << 16  # the linker aligns what it leaves holes before to more
_MOST_EMPTY: Final = 64 << 20  # behind the image's end
_MOST: Final = 256 << 20  # bytes of an image


class KernelMemory:
    """All of it, copied once: runs of bytes, each from an address on."""

    def __init__(self, read: Read) -> None:
        """ConfigError where there is nothing."""
        self.runs: list[tuple[int, bytearray]] = []
        at, end, size = BASE, BASE, 0
        while at < _END and size < _MOST and (not self.runs or at - end < _MOST_EMPTY):
            part = read(at, _PART - at % _PART)
            if part and self.runs and end == at:
                self.runs[-1][1].extend(part)
            elif part:
                self.runs.append((at, bytearray(part)))
            whole = len(part) == _PART - at % _PART
            at, size = at + len(part), size + len(part)
            end = at if part else end
            if not whole:
                at = (at // _STEP + 1) * _STEP
        if not self.runs:
            raise ConfigError("nothing is mapped where Linux has its kernel")
        self._starts = [start for start, _ in self.runs]

    def read(self, address: int, size: int) -> memoryview:
        """Bytes at an address.  ConfigError where some of them are not there."""
        index = bisect_right(self._starts, address) - 1
        if index >= 0 and size >= 0:
            start, data = self.runs[index]
            if address - start + size <= len(data):
                return memoryview(data)[address - start : address - start + size]
        raise ConfigError(f"the kernel has no {size} bytes at {address:#x}")
