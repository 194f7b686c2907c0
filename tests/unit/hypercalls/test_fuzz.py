"""A million hypercalls with arguments at random: the process lives, and every frame's counts add up afterwards."""

from hypothesis import given, settings, strategies as st

from xenia.abi.xen import Hypercall
from xenia.testing.fuzzer import fuzz
from xenia.testing.still import StillDomain

CALLS = 5000
DOMAINS = 200


@settings(max_examples=DOMAINS, deadline=None)
@given(st.integers(0, (1 << 63) - 1))
def test_random_hypercalls_leave_the_frame_table_consistent(seed: int) -> None:
    domain = StillDomain(spare=64)
    fuzz(domain, seed, CALLS)
    assert domain.audit() == []
    assert domain.tot_pages <= 36 + 64


def test_the_same_seed_makes_the_same_calls() -> None:
    first, second = StillDomain(), StillDomain()
    assert fuzz(first, 42, CALLS) == fuzz(second, 42, CALLS)
    assert first.shared_info == second.shared_info


def test_the_fuzzer_reaches_every_hypercall_that_can_succeed() -> None:
    succeeded: set[int] = set()
    for seed in range(40):
        succeeded.update(fuzz(StillDomain(spare=64), seed, CALLS))
    assert succeeded >= {
        Hypercall.MEMORY_OP,
        Hypercall.MULTICALL,
        Hypercall.SET_TIMER_OP,
        Hypercall.EVENT_CHANNEL_OP_COMPAT,
        Hypercall.XEN_VERSION,
        Hypercall.CONSOLE_IO,
        Hypercall.PHYSDEV_OP_COMPAT,
        Hypercall.GRANT_TABLE_OP,
        Hypercall.VM_ASSIST,
        Hypercall.VCPU_OP,
        Hypercall.SCHED_OP,
        Hypercall.SCHED_OP_COMPAT,
        Hypercall.EVENT_CHANNEL_OP,
        Hypercall.PHYSDEV_OP,
    }
