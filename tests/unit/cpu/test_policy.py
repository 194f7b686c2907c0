"""Where user code runs, on what programs did.

`bursts` has for each how long it ran from one entry of the guest's kernel to the next, from its first instruction on,
in units of 100 ns, as the emulated processor took for it.
"""

import itertools
from pathlib import Path

import pytest

from xenia.cpu.engines.native.policy import SpacePolicy

FASTER = 10  # code in a stub
CROSSING = 15_000  # ns, to it and back, with its share of pages that are to be mapped
SIGNAL = 4_000  # ns of that in the stub itself
STUB = 4_000_000  # ns, to have one and its pages, each of which is a crossing


def recorded(program: str) -> list[int]:
    """Nanoseconds of each burst."""
    return [int(word) * 100 for word in (Path(__file__).parent / "bursts" / program).read_text().split()]


def in_stub(ns: int, dearer: int) -> int:
    return ns // FASTER + CROSSING * dearer


def follow(bursts: list[int], dearer: int = 1) -> tuple[int, SpacePolicy]:
    """What they take altogether where the policy has them run."""
    policy, time, moved = SpacePolicy(SIGNAL * dearer), 0, False
    for ns in bursts:
        if policy.native:
            time += in_stub(ns, dearer) + (0 if moved else STUB * dearer)
            moved = True
            policy.in_stub(ns // FASTER + SIGNAL * dearer)
        else:
            time += ns
            policy.emulated(ns)
    return time, policy


@pytest.mark.parametrize("program", ["python", "true", "shell", "xz", "pipe", "cc1"])
@pytest.mark.parametrize("dearer", [1, 3, 5], ids=lambda times: f"crossings {times} times as dear")
def test_it_takes_no_more_than_twice_what_the_better_of_both_takes(program: str, dearer: int) -> None:
    bursts = recorded(program)
    time, _ = follow(bursts, dearer)
    assert time <= 2 * min(sum(bursts), STUB * dearer + sum(in_stub(ns, dearer) for ns in bursts))


def test_who_moved_and_calls_all_the_time_moves_back_however_dear_a_crossing_is() -> None:
    _, policy = follow([4_000_000] * 100, 5)
    assert policy.native
    for _ in range(100):
        policy.in_stub(500 // FASTER + SIGNAL * 5)
    assert not policy.native


@pytest.mark.parametrize(("program", "native"), [("python", True), ("cc1", True), ("pipe", False), ("shell", False)])
def test_who_computes_moves_to_a_stub_and_who_calls_all_the_time_does_not(program: str, native: bool) -> None:
    assert follow(recorded(program))[1].native is native


def test_who_computes_moves_however_seldom_he_leaves_user_mode() -> None:
    policy = SpacePolicy()
    policy.emulated(STUB + 1)
    policy.emulated(1_000_000)
    assert policy.native


def test_who_ends_soon_has_no_stub() -> None:
    policy = SpacePolicy()
    for _ in range(3):
        policy.emulated(STUB // 4)
    assert not policy.native


def test_who_computed_and_calls_all_the_time_moves_back() -> None:
    _, policy = follow([1_000_000] * 100)
    assert policy.native
    for _ in range(100):
        policy.in_stub(500 // FASTER + SIGNAL)
    assert not policy.native


def test_what_is_foiled_in_its_inner_loop_goes_back_and_tries_again_more_and_more_seldom() -> None:
    policy, crossings, tries = SpacePolicy(), 0, []
    for burst in range(1000):
        policy.emulated(STUB)
        if policy.native:
            tries.append(burst)
        while policy.native and crossings < 10000:
            policy.in_stub(3 * SIGNAL + 1000, True)
            crossings += 1
    gaps = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert gaps[:5] == [3, 5, 9, 17, 33]
    assert max(gaps) == 65 and crossings * CROSSING < 1000 * STUB // 100


def test_what_is_foiled_seldom_stays_native() -> None:
    policy = SpacePolicy()
    policy.emulated(2 * STUB)
    policy.emulated(2 * STUB)
    for _ in range(1000):
        policy.in_stub(SIGNAL + 50_000, True)
    assert policy.native


def test_what_stores_to_its_code_goes_back_though_the_host_works_long_for_it() -> None:
    policy = SpacePolicy()
    policy.emulated(2 * STUB)
    policy.emulated(2 * STUB)
    for _ in range(100):
        policy.in_stub(95_000, 8)
    assert not policy.native


@pytest.mark.parametrize("dearer", [1, 5], ids=lambda times: f"crossings {times} times as dear")
def test_who_moved_and_is_better_off_emulated_goes_back_and_tries_more_and_more_seldom(dearer: int) -> None:
    policy, natively, emulated = SpacePolicy(SIGNAL * dearer), 0, 0
    policy.emulated(STUB * dearer + 1)
    for _ in range(20_000):
        if policy.native:
            natively += 1
            policy.in_stub((2 * SIGNAL + 1_000) * dearer)  # each faults, and is long enough to look like computing
        elif emulated % 1000 == 0:
            emulated += 1
            policy.emulated(STUB * dearer)  # it computes now and then
        else:
            emulated += 1
            policy.emulated(SIGNAL * dearer)
    assert not policy.native and 0 < natively < 20_000 // 10


@pytest.mark.parametrize("dearer", [1, 5], ids=lambda times: f"crossings {times} times as dear")
def test_who_is_better_off_in_a_stub_stays_there_and_a_trial_costs_little(dearer: int) -> None:
    policy, time = SpacePolicy(SIGNAL * dearer), 0
    policy.emulated(STUB * dearer + 1)
    in_a_stub = (SIGNAL + 20_000) * dearer
    for _ in range(50_000):
        if policy.native:
            time += in_a_stub
            policy.in_stub(in_a_stub)
        else:
            time += 200_000 * dearer
            policy.emulated(200_000 * dearer)
    assert policy.native and time < 1.05 * 50_000 * in_a_stub


def test_who_is_kept_from_its_processor_once_in_a_trial_is_still_better_off_emulated() -> None:
    policy = SpacePolicy()
    policy.emulated(2 * STUB)
    policy.emulated(2 * STUB)
    assert policy.native
    while policy.native:
        policy.in_stub(2 * SIGNAL)
    policy.emulated(50_000_000)
    for _ in range(100):
        policy.emulated(2_000)
    assert not policy.native
