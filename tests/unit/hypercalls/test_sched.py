"""sched_op, its older form and set_timer_op, as Xen 4.17 answers a PV domain (public/sched.h)."""

import struct

import pytest

from tests.unit.hypercalls.hypercalls import ARGUMENT, LIST, UNMAPPED, call
from xenia.abi.errno import Errno
from xenia.abi.sched import (
    SCHEDOP_block as BLOCK,
    SCHEDOP_pin_override as PIN_OVERRIDE,
    SCHEDOP_poll as POLL,
    SCHEDOP_remote_shutdown as REMOTE_SHUTDOWN,
    SCHEDOP_shutdown as SHUTDOWN,
    SCHEDOP_shutdown_code as SHUTDOWN_CODE,
    SCHEDOP_watchdog as WATCHDOG,
    SCHEDOP_yield as YIELD,
)
from xenia.abi.xen import DOMID_SELF, Hypercall
from xenia.testing.still import StillDomain

POWEROFF, REBOOT, SUSPEND, CRASH, WATCHDOG_FIRED = range(5)
SECOND = 1_000_000_000


@pytest.fixture
def domain() -> StillDomain:
    return StillDomain(domid=5)


def sched_op(domain: StillDomain, command: int, layout: str, *fields: int) -> int:
    return call(domain, Hypercall.SCHED_OP, command, layout, *fields)[0]


def bind_ipi(domain: StillDomain) -> int:
    domain.write(ARGUMENT, bytes(8))
    assert domain.call(Hypercall.EVENT_CHANNEL_OP, 7, ARGUMENT) == 0
    return int.from_bytes(domain.read(ARGUMENT + 4, 4), "little")


def bind_timer(domain: StillDomain) -> int:
    domain.write(ARGUMENT, bytes(12))
    assert domain.call(Hypercall.EVENT_CHANNEL_OP, 1, ARGUMENT) == 0
    return int.from_bytes(domain.read(ARGUMENT + 8, 4), "little")


def poll(domain: StillDomain, ports: list[int], timeout: int = 0) -> int:
    domain.write(LIST, struct.pack(f"={len(ports)}I", *ports))
    return sched_op(domain, POLL, "=QI4xQ", LIST, len(ports), timeout)


def test_blocking_opens_events_and_sleeps_until_one_comes(domain: StillDomain) -> None:
    port = bind_ipi(domain)
    domain.upcall_mask = True
    assert domain.call(Hypercall.SCHED_OP, BLOCK) == 0
    assert domain.blocked
    assert not domain.upcall_mask
    domain.set_pending(port)
    assert not domain.blocked


def test_blocking_with_an_event_pending_does_not_sleep(domain: StillDomain) -> None:
    domain.set_pending(bind_ipi(domain))
    assert domain.call(Hypercall.SCHED_OP, BLOCK) == 0
    assert not domain.blocked


def test_a_masked_port_wakes_nobody_who_blocks(domain: StillDomain) -> None:
    port = bind_ipi(domain)
    domain.mask(port)
    domain.call(Hypercall.SCHED_OP, BLOCK)
    domain.set_pending(port)
    assert domain.blocked


def test_polling_wakes_for_its_ports_even_masked_and_for_no_other(domain: StillDomain) -> None:
    mine, other = bind_ipi(domain), bind_ipi(domain)
    domain.mask(mine)
    domain.mask(other)
    assert poll(domain, [mine]) == 0
    assert domain.blocked
    domain.set_pending(other)
    assert domain.blocked
    domain.set_pending(mine)
    assert not domain.blocked


def test_polling_a_pending_port_returns_at_once(domain: StillDomain) -> None:
    port = bind_ipi(domain)
    domain.mask(port)
    domain.set_pending(port)
    assert poll(domain, [port]) == 0
    assert not domain.blocked


def test_polling_ends_at_its_timeout(domain: StillDomain) -> None:
    assert poll(domain, [], domain.now + SECOND) == 0
    assert domain.blocked
    assert domain.next_timer == domain.now + SECOND
    domain.advance(SECOND - 1_000)
    domain.fire()
    assert domain.blocked
    domain.advance(2_000)
    domain.fire()
    assert not domain.blocked
    assert domain.next_timer != domain.now + SECOND
    assert poll(domain, [], domain.now - 1) == 0
    assert not domain.blocked, "a timeout gone by"


def test_polling_refuses_ports_that_do_not_exist_and_more_than_128(domain: StillDomain) -> None:
    assert poll(domain, [4096]) == -Errno.EINVAL
    assert poll(domain, [1] * 129) == -Errno.EINVAL
    assert sched_op(domain, POLL, "=QI4xQ", UNMAPPED, 1, 0) == -Errno.EFAULT
    assert not domain.blocked


@pytest.mark.parametrize("reason", [POWEROFF, REBOOT, SUSPEND, CRASH])
def test_shutdown_ends_the_domain_for_the_reason_given(domain: StillDomain, reason: int) -> None:
    assert sched_op(domain, SHUTDOWN, "=I", reason) == 0
    assert domain.shutdown == reason


def test_a_shutdown_code_given_before_sticks(domain: StillDomain) -> None:
    assert sched_op(domain, SHUTDOWN_CODE, "=I", CRASH) == 0
    assert domain.shutdown == -1
    assert sched_op(domain, SHUTDOWN, "=I", POWEROFF) == 0
    assert domain.shutdown == CRASH


def test_the_older_form_takes_the_reason_itself(domain: StillDomain) -> None:
    assert domain.call(Hypercall.SCHED_OP_COMPAT, YIELD) == 0
    assert domain.yielded
    assert domain.call(Hypercall.SCHED_OP_COMPAT, POLL, ARGUMENT) == -Errno.ENOSYS
    assert domain.call(Hypercall.SCHED_OP_COMPAT, SHUTDOWN, REBOOT) == 0
    assert domain.shutdown == REBOOT


def test_shutting_others_down_and_pinning_are_for_control_domains(domain: StillDomain) -> None:
    for domid, answer in ((DOMID_SELF, -Errno.ESRCH), (5, -Errno.EPERM), (0, -Errno.EPERM), (77, -Errno.ESRCH)):
        assert sched_op(domain, REMOTE_SHUTDOWN, "=H2xI", domid, 0) == answer
    assert sched_op(domain, PIN_OVERRIDE, "=i", 0) == -Errno.EPERM
    assert domain.call(Hypercall.SCHED_OP, 99, 0) == -Errno.ENOSYS


def test_a_watchdog_that_is_not_kicked_ends_the_domain(domain: StillDomain) -> None:
    assert sched_op(domain, WATCHDOG, "=II", 0, 10) == 1
    domain.advance(9 * SECOND)
    assert sched_op(domain, WATCHDOG, "=II", 1, 10) == 0, "kicked"
    domain.advance(9 * SECOND)
    domain.fire()
    assert domain.shutdown == -1
    domain.advance(2 * SECOND)
    domain.fire()
    assert domain.shutdown == WATCHDOG_FIRED


def test_a_domain_has_two_watchdogs(domain: StillDomain) -> None:
    assert [sched_op(domain, WATCHDOG, "=II", 0, 10) for _ in range(2)] == [1, 2]
    assert sched_op(domain, WATCHDOG, "=II", 0, 10) == -Errno.ENOSPC & 0xFFFFFFFF, "not sign-extended, as from Xen"
    assert sched_op(domain, WATCHDOG, "=II", 1, 0) == 0
    assert sched_op(domain, WATCHDOG, "=II", 1, 10) == -Errno.EINVAL, "stopped"
    assert sched_op(domain, WATCHDOG, "=II", 3, 10) == -Errno.EINVAL
    assert sched_op(domain, WATCHDOG, "=II", 0, 10) == 1


def test_set_timer_op_raises_the_timer_virq_once(domain: StillDomain) -> None:
    port = bind_timer(domain)
    domain.call(Hypercall.VCPU_OP, 7, 0)  # stop the periodic timer
    assert domain.call(Hypercall.SET_TIMER_OP, domain.now + 1_000_000) == 0
    domain.fire()
    assert domain.pending == set()
    domain.advance(1_000_001)
    domain.fire()
    assert domain.pending == {port}
    domain.acknowledge(port)
    domain.advance(SECOND)
    domain.fire()
    assert domain.pending == set()


def test_a_timer_set_for_the_past_fires_at_once_and_0_stops_it(domain: StillDomain) -> None:
    port = bind_timer(domain)
    domain.call(Hypercall.VCPU_OP, 7, 0)  # stop the periodic timer
    assert domain.call(Hypercall.SET_TIMER_OP, domain.now + 1_000) == 0
    assert domain.call(Hypercall.SET_TIMER_OP, 0) == 0
    domain.advance(2_000)
    domain.fire()
    assert domain.pending == set()
    assert domain.call(Hypercall.SET_TIMER_OP, domain.now - 1_000) == 0
    assert domain.pending == {port}


def test_a_timer_too_far_off_fires_after_100_ms(domain: StillDomain) -> None:
    port = bind_timer(domain)
    domain.call(Hypercall.VCPU_OP, 7, 0)
    for timeout in (domain.now + (1 << 51), -1):
        domain.call(Hypercall.SET_TIMER_OP, timeout)
        domain.advance(99_000_000)
        domain.fire()
        assert domain.pending == set()
        domain.advance(2_000_000)
        domain.fire()
        assert domain.pending == {port}
        domain.acknowledge(port)
