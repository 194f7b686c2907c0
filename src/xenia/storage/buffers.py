"""Lists of buffers: memory in pieces, such as the frames of a guest's request.  They are cut, never copied."""

from __future__ import annotations

from collections.abc import Sequence

Buffer = memoryview | bytes | bytearray
Buffers = Sequence[memoryview]

ZEROES = memoryview(bytes(1 << 20))  # read-only; sliced where zeroes are written


class Cursor:
    """Takes a list of buffers apart from front to back."""

    def __init__(self, buffers: Buffers) -> None:
        self._buffers = buffers
        self._index = 0
        self._used = 0  # bytes of the current buffer

    def take(self, length: int) -> list[memoryview]:
        """The next `length` bytes, as parts of the buffers."""
        taken: list[memoryview] = []
        while length:
            buffer = self._buffers[self._index]
            left = len(buffer) - self._used
            if left > length:
                taken.append(buffer[self._used : self._used + length])
                self._used += length
                break
            if left:
                taken.append(buffer[self._used :] if self._used else buffer)
            length -= left
            self._index += 1
            self._used = 0
        return taken


def after(buffers: Buffers, done: int) -> list[memoryview]:
    """What is left of a list when its first `done` bytes are dealt with."""
    for index, buffer in enumerate(buffers):
        if done < len(buffer):
            return [buffer[done:], *buffers[index + 1 :]]
        done -= len(buffer)
    return []


def fill(buffers: Buffers, data: memoryview) -> None:
    """Copy `data` into buffers of the same length altogether."""
    at = 0
    for buffer in buffers:
        buffer[:] = data[at : at + len(buffer)]
        at += len(buffer)


def zero(buffers: Buffers) -> None:
    """Make all of it zeroes."""
    for buffer in buffers:
        for start in range(0, len(buffer), len(ZEROES)):
            piece = buffer[start : start + len(ZEROES)]
            piece[:] = ZEROES[: len(piece)]


def join(buffers: Buffers) -> Buffer:
    """The contents in one piece: the buffer itself where there is but one."""
    return buffers[0] if len(buffers) == 1 else b"".join(buffers)


def is_zero(data: Buffer) -> bool:
    """Whether it is all zeroes."""
    view = memoryview(data)
    return all(
        piece == ZEROES[: len(piece)]
        for piece in (view[start : start + len(ZEROES)] for start in range(0, len(view), len(ZEROES)))
    )
