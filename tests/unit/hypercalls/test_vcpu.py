"""vcpu_op, as Xen 4.17 answers a PV domain (public/vcpu.h)."""

import struct

import pytest

from tests.unit.hypercalls.hypercalls import ARGUMENT, HYPERVISOR, UNMAPPED
from xenia.abi.errno import Errno
from xenia.abi.vcpu import (
    VCPU_RUNSTATE_INFO,
    VCPUOP_down as DOWN,
    VCPUOP_get_physid as GET_PHYSID,
    VCPUOP_get_runstate_info as GET_RUNSTATE,
    VCPUOP_initialise as INITIALISE,
    VCPUOP_is_up as IS_UP,
    VCPUOP_register_runstate_memory_area as REGISTER_RUNSTATE,
    VCPUOP_register_vcpu_info as REGISTER_VCPU_INFO,
    VCPUOP_register_vcpu_time_memory_area as REGISTER_TIME,
    VCPUOP_send_nmi as SEND_NMI,
    VCPUOP_set_periodic_timer as SET_PERIODIC,
    VCPUOP_set_singleshot_timer as SET_SINGLESHOT,
    VCPUOP_stop_periodic_timer as STOP_PERIODIC,
    VCPUOP_stop_singleshot_timer as STOP_SINGLESHOT,
    VCPUOP_up as UP,
)
from xenia.abi.xen import DOMID_SELF, MMUEXT_TLB_FLUSH_ALL, Hypercall
from xenia.testing.still import BASE, PAGES, StillDomain

RUNNING, RUNNABLE, BLOCKED, OFFLINE = range(4)
AREA_PAGE = 5
AREA = BASE + AREA_PAGE * 4096
RUNSTATE = VCPU_RUNSTATE_INFO.format
MS = 1_000_000


@pytest.fixture
def domain() -> StillDomain:
    return StillDomain()


def vcpu_op(domain: StillDomain, command: int, argument: bytes | None = None, vcpu: int = 0) -> int:
    if argument is None:
        return domain.call(Hypercall.VCPU_OP, command, vcpu, 0)
    domain.write(ARGUMENT, argument)
    return domain.call(Hypercall.VCPU_OP, command, vcpu, ARGUMENT)


def test_there_is_one_vcpu_and_it_is_up(domain: StillDomain) -> None:
    assert vcpu_op(domain, IS_UP) == 1
    assert vcpu_op(domain, UP) == 0
    assert vcpu_op(domain, INITIALISE, bytes(5168)) == -Errno.EEXIST
    assert domain.call(Hypercall.VCPU_OP, INITIALISE, 0, UNMAPPED) == -Errno.EFAULT
    for command in range(14):
        assert vcpu_op(domain, command, bytes(8), vcpu=1) == -Errno.ENOENT
    assert vcpu_op(domain, 99) == -Errno.ENOSYS
    assert vcpu_op(domain, GET_PHYSID, bytes(8)) == -Errno.EINVAL


def test_the_last_vcpu_that_goes_down_powers_off(domain: StillDomain) -> None:
    assert vcpu_op(domain, DOWN) == 0
    assert domain.shutdown == 0


def test_vcpu_op_is_about_the_vcpu_that_it_names(domain: StillDomain) -> None:
    other = domain.add_vcpu()
    assert vcpu_op(domain, IS_UP, vcpu=other) == 0
    assert vcpu_op(domain, UP, vcpu=other) == 0
    assert vcpu_op(domain, IS_UP, vcpu=other) == 1
    assert vcpu_op(domain, SEND_NMI, vcpu=other) == 0
    assert not domain.nmi_pending
    assert vcpu_op(domain, SET_PERIODIC, bytes(8), vcpu=other + 1) == -Errno.ENOENT


def test_a_one_shot_timer_is_a_vcpus_own_affair(domain: StillDomain) -> None:
    other = domain.add_vcpu()
    assert vcpu_op(domain, SET_SINGLESHOT, struct.pack("=QII", 10**12, 0, 0), vcpu=other) == -Errno.EINVAL
    assert vcpu_op(domain, STOP_SINGLESHOT, vcpu=other) == -Errno.EINVAL


def test_a_vcpu_that_goes_down_leaves_the_domain_running_while_another_is_up(domain: StillDomain) -> None:
    other = domain.add_vcpu()
    assert vcpu_op(domain, UP, vcpu=other) == 0
    assert vcpu_op(domain, DOWN) == 0
    assert (domain.shutdown, vcpu_op(domain, IS_UP)) == (-1, 0)
    assert vcpu_op(domain, DOWN, vcpu=other) == 0
    assert domain.shutdown == 0


def test_what_is_flushed_everywhere_is_flushed_by_every_vcpus_processor(domain: StillDomain) -> None:
    other = domain.add_vcpu()
    domain.write(ARGUMENT, struct.pack("=IIQQ", MMUEXT_TLB_FLUSH_ALL, 0, 0, 0))
    assert domain.call(Hypercall.MMUEXT_OP, ARGUMENT, 1, 0, DOMID_SELF) == 0
    assert domain.notes(0)[-1] == domain.notes(other)[-1] == ("flush_all",)


def test_a_vcpu_that_comes_later_reads_the_same_counter() -> None:
    domain = StillDomain(warped=True)
    domain.warp_to(domain.now + 1000 * MS)
    other = domain.add_vcpu()
    assert domain.tsc_on(other) == domain.tsc
    domain.warp_to(domain.now + 1000 * MS)
    assert domain.tsc_on(other) == domain.tsc


def test_an_nmi_is_sent_without_an_argument(domain: StillDomain) -> None:
    assert vcpu_op(domain, SEND_NMI, b"x") == -Errno.EINVAL
    assert not domain.nmi_pending
    assert vcpu_op(domain, SEND_NMI) == 0
    assert domain.nmi_pending


def test_vcpu_info_moves_with_its_contents_and_one_upcall_that_looks_everywhere(domain: StillDomain) -> None:
    domain.upcall_mask = True
    mfn = domain.mfn(AREA_PAGE)
    before = domain.frame(mfn)
    assert vcpu_op(domain, REGISTER_VCPU_INFO, struct.pack("=QII", mfn, 64, 0)) == 0
    moved = domain.read(AREA + 64, 64)
    assert moved[0:2] == b"\x01\x01", "pending, masked as before"
    assert moved[8:16] == b"\xff" * 8
    assert moved[32:64] == domain.time_info
    assert domain.frame(mfn)[:2] == (before[0] + 1, before[1] + 1), "held as writable memory"
    assert vcpu_op(domain, REGISTER_VCPU_INFO, struct.pack("=QII", mfn, 64, 0)) == -Errno.EINVAL


@pytest.mark.parametrize(
    ("page", "offset", "answer"),
    [
        (AREA_PAGE, 4096 - 32, -Errno.ENXIO),
        (AREA_PAGE, 4096, -Errno.ENXIO),
        (AREA_PAGE, 4, -Errno.ENXIO),
        (PAGES, 0, -Errno.EINVAL),
        (None, 0, -Errno.EINVAL),
    ],
    ids=["across the end", "beyond", "not aligned", "in a page table", "in a frame of Xen's"],
)
def test_vcpu_info_goes_only_where_it_fits(domain: StillDomain, page: int | None, offset: int, answer: int) -> None:
    mfn = 1 if page is None else domain.mfn(page)
    before = domain.frame(mfn)
    assert vcpu_op(domain, REGISTER_VCPU_INFO, struct.pack("=QII", mfn, offset, 0)) == answer
    assert domain.frame(mfn) == before


def test_runstate_adds_up_to_the_time_that_went_by(domain: StillDomain) -> None:
    start = domain.now
    domain.advance(3 * MS)
    domain.runstate(BLOCKED)
    domain.advance(5 * MS)
    domain.runstate(RUNNING)
    domain.advance(2 * MS)
    assert vcpu_op(domain, GET_RUNSTATE, b"") == 0
    state, entered, *times = struct.unpack(RUNSTATE, domain.read(ARGUMENT, 48))
    assert (state, entered) == (RUNNING, start + 8 * MS)
    assert times[BLOCKED] == 5 * MS
    assert times[RUNNING] == 5 * MS
    assert sum(times) == domain.now


def runstate_told(domain: StillDomain) -> tuple[int, int, list[int]]:
    assert vcpu_op(domain, GET_RUNSTATE, b"") == 0
    state, entered, *times = struct.unpack(RUNSTATE, domain.read(ARGUMENT, 48))
    assert sum(times) == domain.now
    assert entered <= domain.now
    return state, entered, times


def test_who_waits_for_a_pcpu_is_runnable_since_it_was_pushed_off(domain: StillDomain) -> None:
    assert vcpu_op(domain, REGISTER_RUNSTATE, struct.pack("=Q", AREA)) == 0
    start, before = domain.now, runstate_told(domain)[2]
    domain.advance(5 * MS)
    domain.push_off(2 * MS)
    assert runstate_told(domain)[:2] == (RUNNABLE, start + 3 * MS)
    domain.advance(4 * MS)
    state, _, times = runstate_told(domain)
    assert (state, times[RUNNING] - before[RUNNING], times[RUNNABLE] - before[RUNNABLE]) == (RUNNABLE, 3 * MS, 6 * MS)
    assert domain.read(AREA, 4) == struct.pack("=i", RUNNABLE)
    domain.blocked = True
    domain.runstate(BLOCKED)
    assert runstate_told(domain)[0] == BLOCKED


def test_what_was_told_of_a_runstate_is_not_told_otherwise_later(domain: StillDomain) -> None:
    domain.advance(5 * MS)
    before = runstate_told(domain)
    assert before[0] == RUNNING
    domain.push_off(2 * MS)
    state, entered, times = runstate_told(domain)
    assert (state, entered, times) == (RUNNABLE, domain.now, before[2])


def test_a_runstate_is_never_of_a_time_to_come_though_the_hosts_clock_is_ahead(domain: StillDomain) -> None:
    domain.advance(5 * MS)
    domain.drift(-3 * MS)
    domain.push_off(0)
    assert runstate_told(domain)[:2] == (RUNNABLE, domain.now)


def test_the_runstate_area_is_written_at_once_and_whenever_it_changes(domain: StillDomain) -> None:
    assert vcpu_op(domain, REGISTER_RUNSTATE, struct.pack("=Q", AREA)) == 0
    first = struct.unpack(RUNSTATE, domain.read(AREA, 48))
    assert first[0] == RUNNING
    domain.runstate(BLOCKED)
    assert domain.read(AREA, 4) == struct.pack("=i", BLOCKED)
    domain.advance(7 * MS)
    domain.runstate(RUNNING)
    after = struct.unpack(RUNSTATE, domain.read(AREA, 48))
    assert after[2 + BLOCKED] == first[2 + BLOCKED] + 7 * MS


def test_no_byte_of_the_runstate_is_what_the_hypervisor_had_there_before(domain: StillDomain) -> None:
    for command, area, argument in (GET_RUNSTATE, ARGUMENT, b""), (REGISTER_RUNSTATE, AREA, struct.pack("=Q", AREA)):
        domain.write(area, b"\xff" * 48)
        assert vcpu_op(domain, command, argument) == 0
        assert domain.read(area, 48)[4:8] == bytes(4)  # between `state` and `state_entry_time`


def test_the_update_flag_is_gone_when_the_guest_looks(domain: StillDomain) -> None:
    assert domain.call(Hypercall.VM_ASSIST, 0, 5) == 0
    vcpu_op(domain, REGISTER_RUNSTATE, struct.pack("=Q", AREA))
    assert struct.unpack(RUNSTATE, domain.read(AREA, 48))[1] >> 63 == 0


def test_areas_out_of_reach_are_taken_and_left_alone_but_not_in_the_hypervisor(domain: StillDomain) -> None:
    for command in (REGISTER_RUNSTATE, REGISTER_TIME):
        assert vcpu_op(domain, command, struct.pack("=Q", UNMAPPED)) == 0
        assert vcpu_op(domain, command, struct.pack("=Q", HYPERVISOR)) == -Errno.EFAULT
    domain.runstate(BLOCKED)
    domain.runstate(RUNNING)


def test_a_second_copy_of_the_time_is_kept(domain: StillDomain) -> None:
    assert vcpu_op(domain, REGISTER_TIME, struct.pack("=Q", AREA)) == 0
    assert domain.read(AREA, 32) == domain.time_info
    domain.advance(2_000 * MS)
    domain.fire()
    assert domain.read(AREA, 32) == domain.time_info


def test_singleshot_timers_fire_at_once_for_the_past_even_when_asked_not_to(domain: StillDomain) -> None:
    domain.write(ARGUMENT, bytes(12))
    assert domain.call(Hypercall.EVENT_CHANNEL_OP, 1, ARGUMENT) == 0
    assert vcpu_op(domain, SET_SINGLESHOT, struct.pack("=QI", domain.now - 1, 1)) == 0
    assert domain.pending == {1}
    domain.acknowledge(1)
    vcpu_op(domain, STOP_PERIODIC)
    assert vcpu_op(domain, SET_SINGLESHOT, struct.pack("=QI", domain.now + MS, 0)) == 0
    assert vcpu_op(domain, STOP_SINGLESHOT) == 0
    domain.advance(2 * MS)
    domain.fire()
    assert domain.pending == set()


def test_periodic_timers_tick_while_the_vcpu_runs_and_wake_nobody(domain: StillDomain) -> None:
    domain.write(ARGUMENT, bytes(12))
    assert domain.call(Hypercall.EVENT_CHANNEL_OP, 1, ARGUMENT) == 0
    assert vcpu_op(domain, SET_PERIODIC, struct.pack("=Q", 3 * MS)) == 0
    for _ in range(3):
        domain.advance(3 * MS + 1000)
        domain.fire()
        assert domain.pending == {1}
        domain.acknowledge(1)
    domain.call(Hypercall.SCHED_OP, 1, 0)
    assert domain.blocked
    domain.advance(30 * MS)
    domain.fire()
    assert domain.blocked
    assert domain.next_timer == 0


def test_a_vcpu_starts_with_a_ticker_of_100_hz(domain: StillDomain) -> None:
    domain.write(ARGUMENT, bytes(12))
    assert domain.call(Hypercall.EVENT_CHANNEL_OP, 1, ARGUMENT) == 0
    domain.fire()
    domain.acknowledge(1)
    domain.advance(10 * MS + 1000)
    domain.fire()
    assert domain.pending == {1}


@pytest.mark.parametrize("period", [0, MS - 1, 1 << 62, (1 << 64) - 1])
def test_periods_below_a_millisecond_and_without_end_are_refused(domain: StillDomain, period: int) -> None:
    assert vcpu_op(domain, SET_PERIODIC, struct.pack("=Q", period)) == -Errno.EINVAL
