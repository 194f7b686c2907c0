"""Events that other threads raise: the mailbox."""

import os
import select
import threading

import pytest

from xenia.abi.event_channel import EVTCHNOP_bind_ipi as BIND_IPI, EVTCHNOP_close as CLOSE
from xenia.abi.sched import SCHEDOP_block as BLOCK
from xenia.abi.xen import Hypercall
from xenia.testing.still import StillDomain

ARGUMENT = 0xFFFF888000000000


@pytest.fixture
def domain() -> StillDomain:
    return StillDomain()


def bind(domain: StillDomain, count: int = 1) -> list[int]:
    ports = []
    for _ in range(count):
        domain.write(ARGUMENT, bytes(8))
        assert domain.call(Hypercall.EVENT_CHANNEL_OP, BIND_IPI, ARGUMENT) == 0
        ports.append(int.from_bytes(domain.read(ARGUMENT + 4, 4), "little"))
    return ports


def test_a_posted_event_waits_for_the_domains_own_thread(domain: StillDomain) -> None:
    (port,) = bind(domain)
    domain.post(port)
    assert domain.pending == set()
    domain.apply_mailbox()
    assert domain.pending == {port}
    assert domain.upcall_pending


def test_posting_to_a_vcpu_that_runs_kicks_its_processor(domain: StillDomain) -> None:
    (port,) = bind(domain)
    domain.post(port)
    assert domain.kicks == 1
    assert domain.preempt


def test_posting_to_a_blocked_vcpu_wakes_it(domain: StillDomain) -> None:
    (port,) = bind(domain)
    wake = os.eventfd(0, os.EFD_NONBLOCK)
    domain.set_wake_fd(wake)
    assert domain.call(Hypercall.SCHED_OP, BLOCK, 0) == 0
    assert domain.blocked
    poster = threading.Thread(target=domain.post, args=[port])
    poster.start()
    assert select.select([wake], [], [], 30)[0] == [wake]
    poster.join()
    domain.apply_mailbox()
    assert not domain.blocked
    os.close(wake)


def test_events_for_a_port_that_was_closed_meanwhile_are_dropped(domain: StillDomain) -> None:
    (port,) = bind(domain)
    domain.post(port)
    domain.write(ARGUMENT, port.to_bytes(4, "little"))
    assert domain.call(Hypercall.EVENT_CHANNEL_OP, CLOSE, ARGUMENT) == 0
    domain.apply_mailbox()
    assert domain.pending == set()


def test_nothing_is_lost_between_many_posters_and_the_domains_thread(domain: StillDomain) -> None:
    ports = bind(domain, 256)

    def post(mine: list[int]) -> None:
        for port in mine:
            domain.post(port)

    posters = [threading.Thread(target=post, args=[ports[i::4]]) for i in range(4)]
    for poster in posters:
        poster.start()
    for poster in posters:
        domain.apply_mailbox()
        poster.join()
    domain.apply_mailbox()
    assert domain.pending == set(ports)
