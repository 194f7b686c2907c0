"""What is captured comes through a pipe as pcapng, and goes on whole blocks at a time, frames counted."""

from __future__ import annotations

import os
import select
from contextlib import suppress
from dataclasses import dataclass

from xenia.errors import ConfigError

_ENHANCED_PACKET = 6  # pcapng: the block that a frame is in
_READ = 1 << 16
_LONGEST = 1 << 24


@dataclass
class Captured:
    """How many there were."""

    count: int = 0


def relay(source: int, target: int, frames: Captured, most: int | None = None) -> None:
    """Copy blocks from one descriptor to the other until there are no more, or `most` frames were among them.
    BrokenPipeError: nobody reads the target any more.  ConfigError: it takes no more, or what comes is no pcapng."""
    data = bytearray()
    waits = select.poll()
    waits.register(source, select.POLLIN)
    waits.register(target, 0)
    while most is None or frames.count < most:
        if any(descriptor == target for descriptor, _ in waits.poll()):
            raise BrokenPipeError
        more = os.read(source, _READ)
        if not more:
            return
        data += more
        _write(target, _whole_blocks(data, frames, most))


def _whole_blocks(data: bytearray, frames: Captured, most: int | None) -> bytes:
    """Take the whole blocks off the beginning of the data, up to the one with the last frame that is wanted."""
    end = 0
    while len(data) - end >= 12 and (most is None or frames.count < most):
        kind, length = (int.from_bytes(data[end + at : end + at + 4], "little") for at in (0, 4))
        if not 12 <= length <= _LONGEST or length % 4:
            raise ConfigError("what was captured is no pcapng")
        if len(data) - end < length:
            break
        end += length
        frames.count += kind == _ENHANCED_PACKET
    blocks = bytes(data[:end])
    del data[:end]
    return blocks


def _write(target: int, blocks: bytes) -> None:
    """All of it, or, into a file, nothing."""
    view = memoryview(blocks)
    try:
        while view:
            view = view[os.write(target, view) :]
    except BrokenPipeError:
        raise
    except OSError as error:
        with suppress(OSError):  # no file
            os.ftruncate(target, os.lseek(target, 0, os.SEEK_CUR) - (len(blocks) - len(view)))
        raise ConfigError(f"cannot write what was captured: {error.strerror}") from None
