"""The snapshots that others have made inside a qcow2 image.  Xenia keeps them; its own checkpoints are a layer."""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import dataclass

from xenia.storage.layer import Layer
from xenia.storage.qcow2.header import Header

MOST_EXTRA = 1024  # bytes of one snapshot that are not understood here; QEMU's limits
MOST_BYTES = 64 << 20  # of the whole table
_ENTRY = struct.Struct(">QIHHIIQII")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One snapshot: its name, when it was made (seconds since 1970), and its L1 table."""

    identity: str
    name: str
    seconds: int
    l1_offset: int
    l1_size: int


def read_snapshots(container: Layer, header: Header) -> tuple[list[Snapshot], int]:
    """The snapshots, and the length of their table in bytes.  EIO where it cannot be read."""
    found: list[Snapshot] = []
    at = header.snapshots_offset
    try:
        for _ in range(header.snapshots):
            l1_offset, l1_size, id_length, name_length, seconds, _, _, _, extra = _ENTRY.unpack(
                container.pread(at, _ENTRY.size)
            )
            start = at + _ENTRY.size + extra
            if extra > MOST_EXTRA or start + id_length + name_length - header.snapshots_offset > MOST_BYTES:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
            names = bytes(container.pread(start, id_length + name_length))
            found.append(
                Snapshot(
                    names[:id_length].decode("utf-8", "replace"), names[id_length:].decode("utf-8", "replace"),
                    seconds, l1_offset, l1_size,
                )
            )  # fmt: skip
            at += -(-(_ENTRY.size + extra + id_length + name_length) // 8) * 8
    except OSError as error:
        raise OSError(error.errno or errno.EIO, "the image is damaged: its snapshots cannot be read") from None
    return found, at - header.snapshots_offset
