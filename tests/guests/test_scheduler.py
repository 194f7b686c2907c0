"""Domains that share pcpus: tiny guests under the credit2 scheduler.

What they get is counted in the time of the pcpus, which goes on however busy the host is.
"""

from __future__ import annotations

import errno
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.guests.tiny import Running, kernel
from tests.long import amount
from xenia.errors import ConfigError
from xenia.hypervisor.domain import DomainHandle, create_domain
from xenia.hypervisor.machine import MachineHandle
from xenia.machine.thread import HostThread
from xenia.toolstack.machine.sched import Sched

pytestmark = pytest.mark.alone
MEMORY = 8 << 20
SECOND = 1_000_000_000


@contextmanager
def spinning(
    pcpus: int, *weights: int, check: bool = True
) -> Iterator[tuple[MachineHandle, list[DomainHandle], list[Sched]]]:
    """Domains that burn."""
    machine = MachineHandle((len(weights) + 2) * 2 * MEMORY, check=check, scheduler="credit2", pcpus=pcpus)
    domains = [create_domain(machine, kernel("spin"), memory=MEMORY) for _ in weights]
    scheds = [Sched(domain) for domain in domains]
    for sched, weight in zip(scheds, weights, strict=True):
        sched.weight = weight
    try:
        yield machine, domains, scheds
    finally:
        for domain in domains:
            domain.destroy()


def times(scheds: list[Sched]) -> list[int]:
    return [sum(vcpu.time for vcpu in sched.vcpus) for sched in scheds]


def what_they_get(scheds: list[Sched], ns: int) -> list[int]:
    """Of the next so many ns of pcpu time."""
    before = times(scheds)
    waiting = threading.Event()
    while sum(times(scheds)) - sum(before) < ns:
        waiting.wait(0.02)
    return [after - ran for after, ran in zip(times(scheds), before, strict=True)]


def test_busy_domains_share_a_pcpu_by_their_weights() -> None:
    with spinning(1, 256, 512, 1024) as (_, domains, scheds):
        for domain in domains:
            domain.start()
        what_they_get(scheds, SECOND // 2)
        got = what_they_get(scheds, 3 * SECOND)
        for ran, share in zip(got, (1, 2, 4), strict=True):
            assert ran / sum(got) == pytest.approx(share / 7, abs=0.08)  # 0.02 on a quiet host: bench/shares.py


def test_a_capped_domain_gets_no_more_though_nobody_else_wants_it() -> None:
    with spinning(1, 256) as (_, (domain,), scheds):
        scheds[0].cap = 25
        domain.start()
        before, began = times(scheds)[0], domain.system_time
        what_they_get(scheds, SECOND // 2)
        ran, passed = times(scheds)[0] - before, domain.system_time - began
        assert ran <= 0.27 * passed


def test_a_domain_that_sleeps_wakes_while_others_burn_and_its_runstate_says_what_it_got() -> None:
    machine = MachineHandle(8 * MEMORY, check=True, scheduler="credit2", pcpus=1)
    burning = [create_domain(machine, kernel("spin"), memory=MEMORY) for _ in range(3)]
    with Running("naps", memory=MEMORY, machine=machine) as guest:
        for domain in burning:
            domain.start()
        assert guest.answer().ending == "poweroff"
        ran = Sched(guest.domain).vcpus[0].time // 1000
    for domain in burning:
        domain.destroy()
    median, running, runnable, blocked = (
        int(re.search(rf"{word} (\d+) us", guest.output.decode())[1])  # type: ignore[index]
        for word in ("median", "running", "runnable", "blocked")
    )
    assert median < 20_000  # 2000 where the host has nothing else to do: bench/shares.py
    assert running == pytest.approx(ran, rel=0.1, abs=20_000)
    assert runnable > 0
    assert blocked > 300_000


def test_a_vcpu_that_waits_for_a_pcpu_is_runnable_to_its_siblings() -> None:
    machine = MachineHandle(8 * MEMORY, check=True, scheduler="credit2", pcpus=1)
    with Running("preempted", memory=MEMORY, vcpus=2, machine=machine) as guest:
        assert guest.answer().ending == "poweroff"
    sure = "times that went back 0, or do not add up 0"
    assert guest.output.decode().replace("\r", "").splitlines() == [
        *("computes: asked: runnable", "computes: looked: runnable", f"computes: it ran 1, {sure}"),
        *("blocks: asked: blocked", "blocks: looked: blocked", f"blocks: it ran 0, {sure}"),
        *("is down: asked: offline", "is down: looked: offline", f"is down: it ran 0, {sure}"),
    ]


def test_times_that_a_sibling_was_told_stay_true_while_pcpus_change_hands() -> None:
    machine = MachineHandle(8 * MEMORY, check=True, scheduler="credit2", pcpus=2)
    guest = Running("contended", memory=MEMORY, vcpus=3, machine=machine)
    sched = Sched(guest.domain)
    for vcpu, pcpu in enumerate((0, 1, 1)):
        sched.pin(vcpu, hard={pcpu})
    with guest:
        assert guest.answer().ending == "poweroff"
    assert guest.output.decode().strip() == "times that went back 0, or do not add up 0"


def test_domains_come_and_go_while_others_run_and_the_pcpus_go_with_the_last() -> None:
    before = {thread.name for thread in threading.enumerate()}
    with spinning(2, 1, 256, 65535) as (machine, domains, scheds):
        for domain in domains:
            domain.start()
        assert {"pcpu0", "pcpu1"} <= {thread.name for thread in threading.enumerate()}
        for _ in range(amount(10, 3)):
            passing = [create_domain(machine, kernel(name), memory=MEMORY) for name in ("spin", "shutdown_reboot")]
            Sched(passing[0]).weight = 1  # it hardly ever has a turn, and goes all the same
            for domain in passing:
                domain.start()
            assert passing[1].wait(30) is not None
            assert [domain.destroy() for domain in passing] == [0, 0]
        assert all(what_they_get(scheds, SECOND // 5)[1:])
    assert {thread.name for thread in threading.enumerate()} == before


def test_vcpus_run_where_they_are_pinned_and_move_when_they_are_pinned_elsewhere() -> None:
    with spinning(2, 256, 256, 256) as (_, domains, scheds):
        scheds[0].pin(0, hard={0})
        scheds[1].pin(0, hard={0})
        scheds[2].pin(0, hard={1}, soft={1})
        for domain in domains:
            domain.start()
        got = what_they_get(scheds, SECOND)
        assert got[0] + got[1] == pytest.approx(got[2], rel=0.1)
        assert [sched.vcpus[0].pcpu for sched in scheds] == [0, 0, 1]
        scheds[1].pin(0, hard={1})
        scheds[2].pin(0, hard={0})
        what_they_get(scheds, SECOND // 5)
        assert [sched.vcpus[0].pcpu for sched in scheds] == [0, 1, 0]
        assert scheds[2].vcpus[0].hard == {0} and scheds[2].vcpus[0].soft == {1}


def within(seconds: float, action: Callable[[], object]) -> bool:
    """Whether it returns within that time."""
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def test_who_pauses_a_domain_that_goes_on_at_once_does_not_wait_for_the_next_pause() -> None:
    with spinning(1, 256, check=False) as (_, (domain,), _):
        domain.start()
        done = threading.Event()

        def unpause() -> None:
            while not done.is_set():
                domain.unpause()

        def pause() -> None:
            for _ in range(2000):
                domain.pause()

        other = threading.Thread(target=unpause, daemon=True)
        other.start()
        finished = within(60, pause)
        done.set()
        other.join()
        domain.unpause()
        assert finished


def test_a_domain_that_is_paused_before_it_starts_stays_so_and_can_be_stopped() -> None:
    with spinning(1, 256) as (_, (domain,), (sched,)):
        domain.pause()
        sched.pin(0, [0])
        domain.start()
        assert [vcpu.time for vcpu in sched.vcpus] == [0]
        assert within(30, domain.stop)
        assert within(30, domain.wait)


def test_a_domain_that_the_host_gives_no_threads_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    with spinning(1, 256) as (_, (domain,), _):
        with monkeypatch.context() as patch:
            patch.setattr(HostThread, "start", refuse)
            with pytest.raises(OSError, match="no more"):
                domain.start()
        assert within(30, domain.wait)


def test_a_domain_whose_keeper_cannot_be_jailed_ends_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with spinning(1, 256) as (_, (domain,), _):
        monkeypatch.setattr("xenia.hypervisor.domain.confine", refuse)
        domain.start()
        with pytest.raises(OSError, match="no more"):
            domain.wait(30)


def refuse(*_: object) -> None:
    raise OSError(errno.EAGAIN, "no more")


def test_a_paused_domain_gets_nothing_until_it_goes_on() -> None:
    with spinning(1, 256, 256) as (_, domains, scheds):
        for domain in domains:
            domain.start()
        what_they_get(scheds, SECOND // 10)
        domains[0].pause()
        paused = times(scheds)[0]
        assert scheds[0].vcpus[0].state == "--p"
        assert what_they_get(scheds, SECOND // 5)[0] == 0
        assert times(scheds)[0] == paused
        domains[0].unpause()
        assert what_they_get(scheds, SECOND // 2)[0] > SECOND // 10
        domains[1].pause()  # and one that is paused can be destroyed


@pytest.mark.parametrize("name", ["events", "timers", "mmu", "shutdown_crash"])
def test_tiny_guests_behave_alike_beside_others(name: str) -> None:
    with Running(name, memory=MEMORY) as guest:
        alone = guest.answer()
    with spinning(2, 256, 256, 256) as (machine, domains, _):
        for domain in domains:
            domain.start()
        with Running(name, memory=MEMORY, machine=machine) as guest:
            assert guest.answer() == alone


def test_what_cannot_be_scheduled_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match="no scheduler 'rtds'"):
        MachineHandle(MEMORY, scheduler="rtds")
    with pytest.raises(ConfigError, match="1 to 256 pcpus"):
        MachineHandle(MEMORY, scheduler="credit2", pcpus=0)
    with pytest.raises(ConfigError, match="ask for credit2"):
        MachineHandle(MEMORY, pcpus=2)
    with spinning(1, 256) as (_, (domain,), (sched,)):
        for weight in (0, 65536):
            with pytest.raises(ConfigError, match="1 to 65535"):
                sched.weight = weight
        with pytest.raises(ConfigError, match="100 for each of 1 vcpus"):
            sched.cap = 101
        with pytest.raises(ConfigError, match="pcpus 0 to 0"):
            sched.pin(0, hard={7})
        with pytest.raises(ConfigError, match="no vcpu 1"):
            sched.pin(1, hard={0})
        alone = Sched(create_domain(MachineHandle(2 * MEMORY), kernel("spin"), memory=MEMORY))
        with pytest.raises(ConfigError, match="null scheduler"):
            alone.pin(0, hard={0})
        assert domain.destroy() == 0
