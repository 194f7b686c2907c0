"""Encryption: what is below sees only AES-XTS's sectors.

Whoever holds what is below learns which sectors have changed, and nothing else; XTS hides data, it does not guard
against changes to it. A discard would show which sectors are in use, and is refused unless it is asked for.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from xenia.storage.aligned import fine
from xenia.storage.buffers import ZEROES, Buffers, fill, join
from xenia.storage.cipher import XtsCipher
from xenia.storage.layer import BlockSize, Capability, Extent, Filter, Layer
from xenia.storage.luks2 import Luks

STEP = 1 << 20  # at most so much is encrypted at a time


class Crypt(Filter):
    """An encrypted layer over a part of the one below."""

    name: ClassVar[str] = "crypt"

    def __init__(self, lower: Layer, luks: Luks, discards: bool = False) -> None:
        """`discards`: pass them on, which shows below what is in use."""
        unwanted = Capability.WRITE_ZEROES | (Capability(0) if discards else Capability.DISCARD)
        if not discards:
            unwanted |= Capability.SECURE_DISCARD
        if luks.length is not None:
            unwanted |= Capability.RESIZE
        size = BlockSize(luks.sector_size, max(luks.sector_size, lower.block_size.preferred))
        super().__init__(fine(lower, luks.sector_size), lower.capabilities & ~unwanted, size)
        self._luks = luks
        self._cipher = XtsCipher(luks.key, luks.sector_size)
        self._tweak = luks.tweak * 512

    @property
    def size(self) -> int:
        room = self.lower.size - self._luks.offset
        if self._luks.length is not None:
            room = min(room, self._luks.length)
        return max(0, room // self._luks.sector_size * self._luks.sector_size)

    def _read(self, buffers: Buffers, offset: int, length: int) -> None:
        data = self.lower.pread(self._luks.offset + offset, length)
        fill(buffers, memoryview(self._cipher.decrypt(data, self._tweak + offset)))

    def _write(self, buffers: Buffers, offset: int, length: int) -> None:
        self.lower.pwrite(self._cipher.encrypt(join(buffers), self._tweak + offset), self._luks.offset + offset)

    def _discard(self, offset: int, length: int, secure: bool) -> None:
        self.lower.discard(self._luks.offset + offset, length, secure)

    def _write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        while length:
            step = min(STEP, length)
            self._write([ZEROES[:step]], offset, step)
            offset += step
            length -= step

    def _extents(self, offset: int, length: int) -> Iterator[Extent]:
        # What was never written below reads as noise here: not as zeroes.
        for extent in self.lower.extents(self._luks.offset + offset, length):
            yield replace(extent, offset=extent.offset - self._luks.offset, zero=False)

    def _resize(self, size: int) -> None:
        if self._luks.length is not None:
            raise OSError(errno.EOPNOTSUPP, "the header gives the encrypted disk a fixed size")
        self.lower.resize(self._luks.offset + size)
