from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from xenia.machine.window import Window


@pytest.fixture
def memory() -> Iterator[int]:
    fd = os.memfd_create("machine")
    for number in range(8):
        os.write(fd, bytes([number]) * 4096)
    yield fd
    os.close(fd)


def test_frames_lie_side_by_side_in_the_order_they_were_named(memory: int) -> None:
    view = memoryview(Window(memory, [6, 1, 3]))
    assert len(view) == 3 * 4096
    assert bytes(view[::4096]) == bytes([6, 1, 3])
    assert bytes(view[4095::4096]) == bytes([6, 1, 3])


def test_what_is_written_is_in_the_memory_itself(memory: int) -> None:
    view = memoryview(Window(memory, [5, 2]))
    view[4090:4102] = b"cross-border"
    assert os.pread(memory, 6, 5 * 4096 + 4090) == b"cross-"
    assert os.pread(memory, 6, 2 * 4096) == b"border"


def test_a_window_for_reading_cannot_be_written(memory: int) -> None:
    view = memoryview(Window(memory, [1], writable=False))
    assert view.readonly
    with pytest.raises(TypeError):
        view[0] = 1


def test_a_window_is_closed_when_nobody_looks_through_it(memory: int) -> None:
    window = Window(memory, [1])
    view = memoryview(window)
    with pytest.raises(BufferError):
        window.close()
    view.release()
    window.close()
    window.close()
    with pytest.raises(ValueError, match="closed"):
        memoryview(window)
