"""The credit policy, where vcpus may run on some pcpus only, and had better on some."""

from __future__ import annotations

from itertools import chain, cycle, repeat

import pytest

from tests.unit.sched.simulation import MS, Load, Simulation
from xenia.testing.scheduler import ScheduledDomain

SECOND = 1000 * MS


def load(weight: int = 256, plan: list[tuple[int, int]] | None = None, cap: int = 0) -> Load:
    return Load(ScheduledDomain(weight, cap), cycle(plan) if plan else None)


def on(simulation: Simulation, load: Load) -> dict[int, int]:
    """For how long it ran on each pcpu, by the trace."""
    number, spent = simulation.loads.index(load), dict.fromkeys(range(len(simulation.running)), 0)
    for pcpu in spent:
        own = [(when, who) for when, where, who in simulation.trace if where == pcpu]
        for (since, who), (until, _) in zip(own, [*own[1:], (simulation.now, None)], strict=True):
            spent[pcpu] += until - since if who == number else 0
    return spent


def test_a_vcpu_runs_only_where_it_may() -> None:
    pinned, others = load(), [load() for _ in range(3)]
    simulation = Simulation("credit", 2, [pinned, *others])
    simulation.scheduler.move(pinned, {1}, None, 0)
    simulation.run(2 * SECOND)
    assert on(simulation, pinned)[0] == 0
    assert on(simulation, pinned)[1] == pytest.approx(SECOND, rel=0.02)


def test_who_is_pinned_while_it_runs_leaves_at_once() -> None:
    loads = [load() for _ in range(4)]
    simulation = Simulation("credit", 2, loads)
    simulation.run(50 * MS)
    moved = simulation.running[0]
    assert moved is not None
    poked = simulation.scheduler.move(moved, {1}, None, simulation.now)
    assert poked == 0
    simulation._poke(poked)
    simulation.run(50 * MS)
    assert simulation.running[0] is not moved


def test_who_moves_where_others_paid_less_does_not_wait_for_them() -> None:
    alone, two = load(), [load(), load()]
    simulation = Simulation("credit", 2, [alone, *two])
    simulation.scheduler.move(alone, {1}, None, 0)
    for one in two:
        simulation.scheduler.move(one, {0}, None, 0)
    simulation.run(10 * SECOND)
    simulation._poke(simulation.scheduler.move(two[0], {1}, None, simulation.now))
    simulation._poke(simulation.scheduler.move(alone, {0}, None, simulation.now))
    before = [one.ran for one in (alone, two[1])]
    simulation.run(11 * SECOND)
    for one, ran in zip((alone, two[1]), before, strict=True):
        assert one.ran - ran == pytest.approx(SECOND // 2, rel=0.1)


def test_weights_hold_among_those_that_share_a_pcpu_whatever_others_do_elsewhere() -> None:
    here, there = [load(256), load(512)], [load(1), load(65535)]
    simulation = Simulation("credit", 2, [*here, *there])
    for one in here:
        simulation.scheduler.move(one, {0}, None, 0)
    for one in there:
        simulation.scheduler.move(one, {1}, None, 0)
    simulation.run(6 * SECOND)
    assert here[0].ran == pytest.approx(2 * SECOND, rel=0.02)
    assert here[1].ran == pytest.approx(4 * SECOND, rel=0.02)


def test_who_is_let_go_after_long_neither_starves_nor_takes_all() -> None:
    alone, busy = load(), [load() for _ in range(3)]
    simulation = Simulation("credit", 2, [alone, *busy])
    simulation.scheduler.move(alone, {0}, None, 0)
    for one in busy:
        simulation.scheduler.move(one, {1}, None, 0)
    simulation.run(10 * SECOND)
    for one in (alone, *busy):
        simulation._poke(simulation.scheduler.move(one, None, None, simulation.now))
    before = [one.ran for one in (alone, *busy)]
    simulation.run(12 * SECOND)
    for one, ran in zip((alone, *busy), before, strict=True):
        assert one.ran - ran == pytest.approx(SECOND, rel=0.05)


def test_soft_affinity_is_kept_where_nobody_loses_by_it() -> None:
    loads = [load(plan=[(3 * MS, 5 * MS)]), load(plan=[(2 * MS, 7 * MS)])]
    simulation = Simulation("credit", 2, loads)
    for number, one in enumerate(loads):
        simulation.scheduler.move(one, None, {number}, 0)
    simulation.run(2 * SECOND)
    for number, one in enumerate(loads):
        assert on(simulation, one)[number] >= 0.8 * one.ran


def test_soft_affinity_leaves_no_pcpu_idle() -> None:
    loads = [load() for _ in range(3)]
    simulation = Simulation("credit", 2, loads)
    for one in loads:
        simulation.scheduler.move(one, None, {0}, 0)
    simulation.run(3 * SECOND)
    assert sum(one.ran for one in loads) == 6 * SECOND
    for one in loads:
        assert one.ran == pytest.approx(2 * SECOND, rel=0.02)


def test_who_yields_lets_others_go_first() -> None:
    loads = [load() for _ in range(3)]
    simulation = Simulation("credit", 1, loads)
    simulation.run(50 * MS)
    running = simulation.running[0]
    assert running is not None
    running.yields()
    chosen, _, _ = simulation.scheduler.pick(0, simulation.now)
    assert chosen not in (running, None)


def test_under_the_null_policy_affinity_moves_nobody() -> None:
    loads = [load(), load()]
    simulation = Simulation("null", 2, loads)
    simulation.run(10 * MS)
    assert simulation.scheduler.move(loads[0], {1}, None, simulation.now) is None
    simulation.run(20 * MS)
    assert simulation.running == loads


def test_one_that_does_nothing_but_yield_takes_little_from_who_computes() -> None:
    burns, yields = Load(ScheduledDomain()), Load(ScheduledDomain(), repeat((2_000, 0)), yielding=True)
    machine = Simulation("credit", 1, [burns, yields])
    machine.run(1000 * MS)
    assert burns.ran > 980 * MS
    assert len(machine.trace) < 5000  # each of which costs both


def test_one_that_yields_now_and_then_gets_its_share_when_it_computes() -> None:
    burns = Load(ScheduledDomain())
    both = Load(ScheduledDomain(), chain(repeat((2_000, 0), 1000), repeat((1 << 62, 0))), yielding=True)
    machine = Simulation("credit", 1, [burns, both])
    machine.run(4000 * MS)
    before = burns.ran
    machine.run(5000 * MS)
    assert burns.ran - before == pytest.approx(500 * MS, rel=0.02)
