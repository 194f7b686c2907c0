"""The frames that nobody has, against a set of numbers."""

import random
import time

import pytest

from xenia.testing.free_frames import FreeFrames


def lowest_row(free: set[int], order: int, end: int) -> int:
    """The first of 2^order frames in a row that are in `free`, 0 where there are none."""
    count = 1 << order
    rows = (first for first in range(0, end, count) if free.issuperset(range(first, first + count)))
    return next(rows, 0)


@pytest.mark.parametrize(("start", "end", "low"), [(5, 2048, 0), (7, 3000, 700), (1, 100, 0), (64, 4096, 1024)])
def test_whatever_is_taken_and_given_back_each_frame_has_one_owner(start: int, end: int, low: int) -> None:
    frames = FreeFrames(start, end, low)
    free, taken = set(range(start, end)), list[int]()
    seed = random.Random(end)
    for _ in range(3000):
        order = seed.choice([0, 0, 0, 0, 1, 2, 3, 5, 6, 7, 9])
        if taken and seed.random() < 0.6:
            mfn = taken.pop(seed.randrange(len(taken)))
            frames.put(mfn)
            free.add(mfn)
        elif order:
            first = frames.take_extent(order)
            assert first == lowest_row(free, order, end)
            got = range(first, first + (1 << order)) if first else range(0)
            taken += got
            free -= set(got)
        else:
            mfn = frames.take()
            assert mfn in free if free else mfn == 0
            taken += [mfn] if mfn else []
            free.discard(mfn)
        assert frames.count == len(free)
    assert {frames.take() for _ in range(len(free))} == free
    assert frames.take() == 0


def test_what_came_back_last_is_handed_out_first_and_the_bottom_last() -> None:
    frames = FreeFrames(10, 100, 20)
    assert [frames.take() for _ in range(3)] == [30, 31, 32]
    frames.put(31)
    frames.put(30)
    assert [frames.take() for _ in range(3)] == [30, 31, 33]
    assert [frames.take() for _ in range(67)][-1] == 10 + 0


def test_a_row_that_is_not_there_is_soon_known_in_a_large_machine() -> None:
    frames = FreeFrames(5000, 8 << 18)  # of 8 GB
    frames.fragment()
    longest = 0
    for order in range(1, 10):
        before = time.thread_time_ns()
        assert frames.take_extent(order) == 0
        longest = max(longest, time.thread_time_ns() - before)
    print(f"no frames in a row among every second one of 8 GB: known after {longest / 1e6:.3f} ms at most")
    assert longest < 5_000_000
