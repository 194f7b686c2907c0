"""The credit policy over thousands of vcpus and long times, and on pcpus that come late, as those of a busy host do."""

from __future__ import annotations

import random
from itertools import cycle

import pytest

from tests.unit.sched.simulation import MS, Load, Simulation
from xenia.testing.scheduler import ScheduledDomain

SECOND = 1000 * MS


class Late(Simulation):
    """Pcpus that choose later than they were told to: up to `most` ns, as threads do on a host that is busy."""

    def __init__(self, policy: str, nr_pcpus: int, loads: list[Load], most: int) -> None:
        self.late = random.Random(1)
        self.most = most
        super().__init__(policy, nr_pcpus, loads)

    def _at(self, when: int, pcpu: int, who: Load | None = None) -> None:
        if pcpu >= 0:
            when += self.late.choice([0, self.most // 20, self.most // 5, self.most])
        super()._at(when, pcpu, who)

    def check(self) -> None:
        """One that was told of somebody who waits has not come yet."""


def three(cap: int = 0) -> list[Load]:
    return [Load(ScheduledDomain(weight)) for weight in (256, 512, 1024)] + (
        [Load(ScheduledDomain(256, cap))] if cap else []
    )


@pytest.mark.parametrize("late", [0, MS, 8 * MS])
def test_weights_and_caps_hold_on_pcpus_that_come_late(late: int) -> None:
    loads = three(cap=10)
    Late("credit", 1, loads, late).run(10 * SECOND)
    assert loads[3].ran == pytest.approx(SECOND, rel=0.01)
    for load, share in zip(loads[:3], (1, 2, 4), strict=True):
        assert load.ran == pytest.approx(9 * SECOND * share / 7, rel=0.02)


def test_a_sleeper_gets_its_share_beside_those_that_burn_and_does_not_wait() -> None:
    burning = [Load(ScheduledDomain()) for _ in range(4)]
    sleeper = Load(ScheduledDomain(), cycle([(MS, 9 * MS)]))
    simulation = Simulation("credit", 1, [*burning, sleeper])
    simulation.run(5 * SECOND)
    assert sorted(sleeper.waits)[len(sleeper.waits) // 2] <= MS
    assert max(sleeper.waits[1:]) <= 2 * MS
    assert sleeper.ran >= 0.09 * 5 * SECOND


def test_short_sleeps_of_a_heavy_domain_are_no_windfall_for_a_light_one() -> None:
    heavy, light = Load(ScheduledDomain(65535), cycle([(MS, MS // 100)])), Load(ScheduledDomain(1))
    Simulation("credit", 1, [heavy, light]).run(5 * SECOND)
    assert light.ran <= 0.06 * 5 * SECOND


def test_who_ran_alone_for_long_does_not_pay_for_it_later() -> None:
    first, second = Load(ScheduledDomain(1)), Load(ScheduledDomain(256), cycle([(0, 60 * SECOND), (1 << 62, 0)]))
    third = Load(ScheduledDomain(256), cycle([(0, 60 * SECOND), (1 << 62, 0)]))
    simulation = Simulation("credit", 2, [first, second, third])
    simulation.run(60 * SECOND)
    alone = first.ran
    assert alone >= 59 * SECOND
    simulation.run(70 * SECOND)
    assert first.ran - alone > 0
    assert second.ran == pytest.approx(third.ran, rel=0.02)


def test_a_weight_that_is_more_than_one_pcpu_is_not_saved_up() -> None:
    heavy, others = Load(ScheduledDomain(65535)), [Load(ScheduledDomain(256)) for _ in range(3)]
    simulation = Simulation("credit", 2, [heavy, *others])
    simulation.run(20 * SECOND)
    assert heavy.ran >= 19.9 * SECOND
    heavy.domain.weight = 256
    before = [load.ran for load in (heavy, *others)]
    simulation.run(24 * SECOND)
    for load, ran in zip((heavy, *others), before, strict=True):
        assert load.ran - ran == pytest.approx(2 * SECOND, rel=0.05)


def test_two_thousand_vcpus_of_many_domains_share_by_weight() -> None:
    pick = random.Random(2)
    shared = [ScheduledDomain(pick.choice([128, 256, 512])) for _ in range(250)]
    domains = [[Load(domain) for _ in range(8)] for domain in shared]
    loads = [load for domain in domains for load in domain]
    Simulation("credit", 32, loads).run(2 * SECOND)
    total = sum(domain[0].domain.weight for domain in domains)
    for domain in domains:
        fair = 32 * 2 * SECOND * domain[0].domain.weight / total
        assert sum(load.ran for load in domain) == pytest.approx(fair, abs=20 * MS)


def test_a_cap_that_is_taken_off_or_put_on_counts_from_then_on() -> None:
    capped, rival = Load(ScheduledDomain(256, 20)), Load(ScheduledDomain())
    simulation = Simulation("credit", 1, [capped, rival])
    simulation.run(2 * SECOND)
    assert capped.ran == pytest.approx(0.2 * 2 * SECOND, rel=0.02)
    capped.domain.cap = 0
    before = capped.ran
    simulation.run(4 * SECOND)
    assert capped.ran - before == pytest.approx(SECOND, rel=0.03)
    rival.domain.cap = 30
    before = rival.ran
    simulation.run(6 * SECOND)
    assert rival.ran - before == pytest.approx(0.3 * 2 * SECOND, rel=0.03)
