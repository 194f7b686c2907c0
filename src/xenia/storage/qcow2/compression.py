"""Compressed clusters: raw deflate streams, or Zstandard frames."""

from __future__ import annotations

import errno
import threading
import zlib

import zstandard

from xenia.storage.layer import Layer
from xenia.storage.qcow2.header import ZSTD
from xenia.storage.qcow2.table import SECTOR

COMPRESSED = 1 << 62
MOST_WINDOW = 8 << 20  # bytes that a Zstandard frame may ask for; four of the largest clusters
_WINDOW_BITS = -12  # as QEMU's own


class Codec:
    """Compresses and decompresses the clusters of one image."""

    def __init__(self, kind: int, cluster_bits: int, level: int | None = None) -> None:
        self._zstd = kind == ZSTD
        self._cluster_size = 1 << cluster_bits
        self._offset_bits = 62 - (cluster_bits - 8)
        self._level = level
        self._own = threading.local()  # Zstandard's contexts are for one thread at a time

    def compress(self, data: bytes | bytearray | memoryview) -> bytes | None:
        """One cluster compressed, or None where that saves nothing."""
        if self._zstd:
            if not hasattr(self._own, "compressor"):
                self._own.compressor = zstandard.ZstdCompressor(3 if self._level is None else self._level)
            packed: bytes = self._own.compressor.compress(data)
        else:
            compressor = zlib.compressobj(-1 if self._level is None else self._level, zlib.DEFLATED, _WINDOW_BITS)
            packed = compressor.compress(data) + compressor.flush()
        return packed if len(packed) <= self._cluster_size - SECTOR else None

    def entry(self, offset: int, length: int) -> int:
        """The L2 entry for so many bytes at a host offset."""
        sectors = (offset + length - 1) // SECTOR - offset // SECTOR
        return COMPRESSED | sectors << self._offset_bits | offset

    def extent(self, entry: int) -> tuple[int, int]:
        """The host bytes of a compressed cluster: offset, and length to the end of its last sector."""
        offset = entry & ((1 << self._offset_bits) - 1)
        sectors = ((entry & (COMPRESSED - 1)) >> self._offset_bits) + 1
        return offset, sectors * SECTOR - offset % SECTOR

    def load(self, container: Layer, entry: int) -> bytes:
        """The cluster that an entry stands for.  EIO where it cannot be decompressed."""
        offset, length = self.extent(entry)
        packed = container.pread(offset, max(0, min(length, container.size - offset)))
        try:
            if self._zstd:
                if not hasattr(self._own, "decompressor"):
                    self._own.decompressor = zstandard.ZstdDecompressor(max_window_size=MOST_WINDOW)
                reader = self._own.decompressor.stream_reader(bytes(packed))
                data = bytes(reader.read(self._cluster_size))
            else:
                data = zlib.decompressobj(_WINDOW_BITS).decompress(packed, self._cluster_size)
        except (zlib.error, zstandard.ZstdError):
            data = b""
        if len(data) != self._cluster_size:
            raise OSError(errno.EIO, f"the image is damaged: the compressed cluster at {offset:#x} cannot be read")
        return data
