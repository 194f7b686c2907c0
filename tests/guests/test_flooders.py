"""What the host's threads do for a flooder is not taken from the domain beside it, on two processors."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guests.neighbours import Worker, beside, neighbourhood, watch
from xenia import Machine

pytestmark = [pytest.mark.guest, pytest.mark.alone]

SECOND = 1_000_000_000
WHILES = 24


@pytest.fixture(scope="module")
def two_processors() -> Iterator[tuple[Machine, Worker]]:
    """A machine that has two of the host's, and no thread another; the worker is on the first."""
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        pytest.skip("the host has one processor")
    os.sched_setaffinity(0, sorted(allowed)[:2])
    try:
        with neighbourhood(2, "computes") as (machine, worker):
            worker.domain.sched.pin(0, hard={0})
            yield machine, worker
    finally:
        os.sched_setaffinity(0, allowed)


def given(number: int) -> int:
    """ns that the host has given the thread of a pcpu."""
    (thread,) = (thread for thread in threading.enumerate() if thread.name == f"pcpu{number}")
    return int(Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text().split()[0])


@pytest.mark.parametrize("kind", ["store", "lines", "a block ring", "a network ring"])
def test_what_is_done_for_a_flooder_is_taken_from_its_own_processor(
    kind: str, two_processors: tuple[Machine, Worker]
) -> None:
    machine, worker = two_processors
    with beside(machine, worker, kind) as neighbour:
        neighbour.sched.pin(0, hard={1})
        shares: list[float] = []
        worked = all_worked = 0
        for _ in range(WHILES):
            began, worked_before, all_before = time.monotonic_ns(), given(0), time.process_time_ns()
            watch(worker, neighbour, SECOND // 4)
            passed = time.process_time_ns() - all_before
            if passed < 1.5 * (time.monotonic_ns() - began):
                continue  # others have the host's processors
            worked += given(0) - worked_before
            all_worked += passed
            if all_worked < SECOND:
                continue
            shares.append(worked / all_worked)
            worked = all_worked = 0
            if shares[-1] >= 0.45:
                return
            assert len(shares) < 3, shares  # it waits for its disk, too
    pytest.skip("the host is busy with something else")
