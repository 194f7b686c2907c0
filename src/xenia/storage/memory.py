"""A disk in this process's memory, which ends with it."""

from __future__ import annotations

import os
from typing import ClassVar

from xenia.storage.file import RawFile


class Memory(RawFile):
    """A disk of zeroes to begin with; memory is taken as it is written to."""

    name: ClassVar[str] = "memory"

    def __init__(self, size: int) -> None:
        fd = os.memfd_create("xenia-disk", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, size)
            super().__init__(fd)
        except BaseException:
            os.close(fd)
            raise
