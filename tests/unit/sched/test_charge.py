"""What the host does for a domain on other threads counts as the domain's own time."""

from __future__ import annotations

from itertools import cycle

import pytest

from tests.unit.sched.simulation import MS, Load, Simulation
from xenia.testing.scheduler import ScheduledDomain

SECOND = 1000 * MS
STEP = MS // 20


class Served(Simulation):
    """`flooder`'s domain is worked for as long as it runs, by another thread, and told now and then."""

    def __init__(self, nr_pcpus: int, loads: list[Load], flooder: list[Load], *, spare: bool = False) -> None:
        super().__init__("credit", nr_pcpus, loads, spare=spare)
        self.flooder = flooder

    def check(self) -> None:
        """A domain may stand while a pcpu has nothing to do."""

    def work(self, seconds: float) -> None:
        """Go on for so long."""
        until = self.now + int(seconds * SECOND)
        told = sum(load.ran for load in self.flooder)
        while self.now < until:
            self.run(self.now + STEP)
            ran = sum(load.ran for load in self.flooder)
            self._poke(self.scheduler.charge(self.flooder[0].domain, ran - told))
            told = ran


def share(load: Load, seconds: float) -> float:
    return load.ran / (seconds * SECOND)


def test_where_every_pcpu_is_busy_a_domain_stands_as_long_as_others_worked_for_it() -> None:
    worker, flooder = Load(ScheduledDomain()), Load(ScheduledDomain())
    Served(2, [worker, flooder], [flooder]).work(2)
    assert share(worker, 2) == pytest.approx(1, rel=0.01)
    assert share(flooder, 2) == pytest.approx(0.5, rel=0.02)


def test_it_pays_for_that_where_vcpus_wait_for_pcpus() -> None:
    worker, flooder = Load(ScheduledDomain()), Load(ScheduledDomain())
    Served(1, [worker, flooder], [flooder]).work(2)
    assert share(worker, 2) == pytest.approx(2 / 3, rel=0.02)
    assert share(flooder, 2) == pytest.approx(1 / 3, rel=0.04)


def test_a_domain_of_two_vcpus_has_one_share_with_what_is_done_for_it() -> None:
    domain = ScheduledDomain()
    worker, flooder = Load(ScheduledDomain()), [Load(domain), Load(domain)]
    Served(2, [worker, *flooder], flooder).work(2)
    assert share(worker, 2) >= 0.99
    assert sum(share(load, 2) for load in flooder) == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize("others", [0, 1])
def test_nobody_stands_where_nobody_is_kept_from_a_processor(others: int) -> None:
    flooder = Load(ScheduledDomain())
    simulation = Served(2 + others, [flooder, *(Load(ScheduledDomain()) for _ in range(others))], [flooder])
    simulation.work(2)
    assert share(flooder, 2) >= 0.999


def test_a_host_with_more_processors_than_pcpus_has_one_for_that() -> None:
    worker, flooder = Load(ScheduledDomain()), Load(ScheduledDomain())
    Served(2, [worker, flooder], [flooder], spare=True).work(2)
    assert share(flooder, 2) >= 0.999


def test_who_sleeps_while_it_is_worked_for_owes_nothing() -> None:
    worker, asking = Load(ScheduledDomain()), Load(ScheduledDomain(), cycle([(MS, 2 * MS)]))
    simulation = Served(2, [worker, asking], [asking])
    while simulation.now < 3 * SECOND:
        simulation.run(simulation.now + STEP)
        if asking.asleep:
            simulation._poke(simulation.scheduler.charge(asking.domain, STEP))
    assert share(asking, 3) == pytest.approx(1 / 3, rel=0.02)
    assert max(asking.waits) <= 2 * STEP


def test_a_domain_owes_no_more_than_a_moment() -> None:
    worker, asking = Load(ScheduledDomain()), Load(ScheduledDomain())
    simulation = Served(2, [worker, asking], [asking])
    simulation.work(0.1)
    before = asking.ran
    simulation._poke(simulation.scheduler.charge(asking.domain, 100 * SECOND))
    simulation.work(0.1)
    assert asking.ran - before >= 30 * MS
