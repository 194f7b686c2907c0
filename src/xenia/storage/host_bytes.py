"""What the bottoms of most stacks share: bytes that the host keeps, behind a descriptor."""

from __future__ import annotations

import errno
import os
from abc import abstractmethod
from typing import Any

from xenia.storage import host
from xenia.storage.buffers import Buffers
from xenia.storage.layer import BlockSize, Capability, Layer


class HostBytes(Layer):
    """The bytes of a descriptor, all of them and nothing else."""

    def __init__(self, fd: int, capabilities: Capability, block_size: BlockSize) -> None:
        """Take over a descriptor."""
        super().__init__(None, capabilities | Capability.FLUSH, block_size)
        self.fd = fd
        self._size = self._measure()
        self._lost = 0  # the errno of a flush that failed

    @property
    def size(self) -> int:
        return self._size

    @property
    def host_fd(self) -> int:
        return self.fd

    def details(self) -> dict[str, Any]:
        return {"path": os.readlink(f"/proc/self/fd/{self.fd}"), "allocated": os.fstat(self.fd).st_blocks * 512}

    @abstractmethod
    def _measure(self) -> int:
        """How many bytes there are now."""

    def _read(self, buffers: Buffers, offset: int, length: int) -> None:
        host.read_all(self.fd, buffers, offset)

    def _write(self, buffers: Buffers, offset: int, length: int) -> None:
        host.write_all(self.fd, buffers, offset)

    def _flush(self) -> None:
        # The host drops what it could not write and then forgets it: the next fdatasync would succeed.
        if not self._lost:
            try:
                os.fdatasync(self.fd)
            except OSError as error:
                self._lost = error.errno or errno.EIO
        if self._lost:
            raise OSError(self._lost, "what was written could not be made durable")

    def _refresh(self) -> None:
        size = self._measure()
        if size != self._size:
            self._size = size
            self._resized()

    def _close(self) -> None:
        try:
            if not self.read_only:
                self._flush()
        finally:
            os.close(self.fd)
