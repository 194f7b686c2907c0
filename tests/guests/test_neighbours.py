"""Whatever a domain does, the one beside it has its share of the processor and all its data."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.guests.neighbours import NEIGHBOURS, SCRIPTS, Worker, beside, neighbourhood, watch
from tests.guests.stock import skip_without
from xenia import Machine

pytestmark = [pytest.mark.guest, pytest.mark.alone]

SECOND = 1_000_000_000
WHILES = 6
ENTRIES = 20_000  # a second of its own: more of them is a processor that is taken from it all the time


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[Machine, Worker]]:
    with neighbourhood(1, "computes") as found:
        yield found


@pytest.mark.parametrize("kind", NEIGHBOURS)
def test_a_domain_keeps_its_share_and_its_data_beside(kind: str, place: tuple[Machine, Worker]) -> None:
    machine, worker = place
    if kind in SCRIPTS:
        skip_without("cloud-amd64", ())
    with beside(machine, worker, kind) as neighbour:
        ran, entries = worker.time, worker.entries
        # While it waits for its disk, which is served by a thread of the host's, it has no share: a busy host may be
        # late with that for a while, and nobody is late for ever.
        shares: list[float] = []
        while not shares or shares[-1] < 0.45:
            shares.append(watch(worker, neighbour, SECOND // 2).share)
            assert len(shares) < WHILES or shares[-1] >= 0.45, shares
        assert worker.entries - entries <= ENTRIES * (worker.time - ran) / SECOND
        worker.ask_to_look()
        worker.await_look()
