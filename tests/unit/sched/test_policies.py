"""Scheduling policies, on a machine that only schedules."""

from __future__ import annotations

from itertools import cycle

import pytest
from hypothesis import given, settings, strategies as st

from tests.unit.sched.simulation import MS, Load, Simulation
from xenia.testing.scheduler import ScheduledDomain

SECOND = 1000 * MS
weights = st.integers(1, 65535)
rests = st.sampled_from([0, 1, MS // 3, 3 * MS, 30 * MS])
plans = st.lists(st.tuples(st.integers(MS // 5, 30 * MS), rests), min_size=1, max_size=4)


def domain(weight: int = 256, cap: int = 0, vcpus: int = 1) -> list[Load]:
    shared = ScheduledDomain(weight, cap)
    return [Load(shared) for _ in range(vcpus)]


def share(loads: list[Load], until: int, pcpus: int = 1) -> float:
    return sum(load.ran for load in loads) / (until * pcpus)


# --- credit


@settings(deadline=None, max_examples=30)
@given(
    pcpus=st.integers(1, 4),
    domains=st.lists(st.tuples(weights, st.sampled_from([0, 0, 25, 150]), st.lists(plans, max_size=3)), max_size=6),
)
def test_whoever_may_run_does_while_there_is_a_pcpu_and_the_same_happens_every_time(
    pcpus: int, domains: list[tuple[int, int, list[list[tuple[int, int]]]]]
) -> None:
    def simulate() -> Simulation:
        loads = []
        for weight, cap, vcpus in domains:
            shared = ScheduledDomain(weight, cap)
            loads += [Load(shared, cycle(plan)) for plan in vcpus]
        simulation = Simulation("credit", pcpus, loads)
        simulation.run(200 * MS)
        return simulation

    first, second = simulate(), simulate()
    assert first.trace == second.trace


@settings(deadline=None, max_examples=15)
@given(shares=st.lists(st.integers(64, 4096), min_size=2, max_size=6))
def test_busy_domains_get_what_their_weights_say(shares: list[int]) -> None:
    domains = [domain(weight) for weight in shares]
    Simulation("credit", 1, [load for loads in domains for load in loads]).run(4 * SECOND)
    for weight, loads in zip(shares, domains, strict=True):
        assert share(loads, 4 * SECOND) == pytest.approx(weight / sum(shares), abs=0.01)


def test_a_domain_of_eight_vcpus_gets_no_more_than_its_weight() -> None:
    one, eight = domain(), domain(vcpus=8)
    Simulation("credit", 1, one + eight).run(4 * SECOND)
    assert share(one, 4 * SECOND) == pytest.approx(0.5, abs=0.01)


def test_weights_hold_on_several_pcpus_as_far_as_one_vcpu_can_use_them() -> None:
    light, heavy = domain(256, vcpus=4), domain(768, vcpus=4)
    Simulation("credit", 3, light + heavy).run(4 * SECOND)
    assert share(heavy, 4 * SECOND, 3) == pytest.approx(0.75, abs=0.01)
    alone, others = domain(65535), domain(1, vcpus=2)
    Simulation("credit", 2, alone + others).run(SECOND)
    assert share(alone, SECOND) == pytest.approx(1, abs=0.01)
    assert share(others, SECOND) == pytest.approx(1, abs=0.01)


@settings(deadline=None, max_examples=15)
@given(cap=st.integers(1, 250), vcpus=st.integers(1, 4), pcpus=st.integers(1, 3), rivals=st.integers(0, 3))
def test_a_capped_domain_stays_below_its_cap_and_reaches_it_where_there_is_room(
    cap: int, vcpus: int, pcpus: int, rivals: int
) -> None:
    capped = domain(65535, cap, vcpus)
    Simulation("credit", pcpus, capped + domain(1, vcpus=rivals)).run(2 * SECOND)
    used = 100 * sum(load.ran for load in capped) / (2 * SECOND)
    assert used <= cap + 1
    kept = 10 * pcpus if rivals else 2  # a rival that came in between has its millisecond of each period's ten
    assert used >= min(cap, 100 * min(vcpus, pcpus)) - kept


@settings(deadline=None, max_examples=15)
@given(shares=st.lists(st.integers(16, 4096), min_size=2, max_size=8), pcpus=st.integers(1, 3))
def test_nobody_starves(shares: list[int], pcpus: int) -> None:
    loads = [load for weight in shares for load in domain(weight)]
    simulation = Simulation("credit", pcpus, loads)
    simulation.run(4 * SECOND)
    for weight, load in zip(shares, loads, strict=True):
        # As long as it takes the others to use what their weights give them beside one turn of its own.
        assert max(load.waits) <= 12 * MS * sum(shares) / weight + 12 * MS * len(shares)
        assert load.ran or sum(shares) / weight > 100


def test_who_wakes_runs_within_a_millisecond_while_others_burn() -> None:
    burning = [load for _ in range(6) for load in domain()]
    (interactive,) = domain()
    interactive.plan = cycle([(MS // 10, 9 * MS)])
    interactive.left, interactive.rest = next(interactive.plan)
    Simulation("credit", 2, [*burning, interactive]).run(5 * SECOND)
    assert len(interactive.waits) > 500
    assert max(interactive.waits[1:]) <= MS


def test_sleep_cannot_be_saved_up() -> None:
    (burning,), (sleeper,) = domain(), domain()
    sleeper.plan = iter([(MS, SECOND), (1 << 62, 0)])
    sleeper.left, sleeper.rest = next(sleeper.plan)
    simulation = Simulation("credit", 1, [burning, sleeper])
    simulation.run(SECOND)
    before = sleeper.ran
    simulation.run(SECOND + 100 * MS)
    assert sleeper.ran - before <= 62 * MS


def test_a_thousand_vcpus_share_alike() -> None:
    loads = [load for _ in range(1000) for load in domain()]
    Simulation("credit", 16, loads).run(2 * SECOND)
    times = [load.ran for load in loads]
    assert max(times) - min(times) <= 20 * MS


def test_who_goes_away_is_not_picked_again() -> None:
    simulation = Simulation("credit", 1, [load for _ in range(3) for load in domain()])
    simulation.run(50 * MS)
    gone = simulation.loads[0]
    simulation.scheduler.remove(gone, simulation.now)
    for step in range(100):
        chosen, _, _ = simulation.scheduler.pick(0, simulation.now + step * 10 * MS)
        assert chosen not in (gone, None)


# --- null


def test_the_null_policy_gives_each_vcpu_a_pcpu_for_as_long_as_it_likes() -> None:
    loads = [load for _ in range(3) for load in domain()]
    simulation = Simulation("null", 2, loads)
    assert simulation.placed == loads[:2]
    simulation.run(SECOND)
    assert [load.ran for load in loads] == [SECOND, SECOND, 0]
    assert len(simulation.trace) == 2


def test_under_the_null_policy_a_pcpu_idles_while_its_vcpu_sleeps_and_is_free_once_it_goes() -> None:
    sleeping, late = Load(ScheduledDomain(), cycle([(MS, 3 * MS)])), Load(ScheduledDomain())
    simulation = Simulation("null", 1, [sleeping])
    simulation.run(40 * MS)
    assert sleeping.ran == 10 * MS
    assert not simulation.scheduler.add(late)
    simulation.scheduler.remove(sleeping, simulation.now)
    assert simulation.scheduler.pick(0, simulation.now) == (None, 0, None)
    assert simulation.scheduler.add(late)
    assert simulation.scheduler.wake(late, simulation.now) == 0
    assert simulation.scheduler.pick(0, simulation.now) == (late, 0, None)
