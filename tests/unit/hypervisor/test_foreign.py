"""A domain as its console and its store have it: the page and the channel that it was built with."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from select import select

import pytest

from tests.guests.tiny import kernel
from xenia.foreign.fault import FrontendFault
from xenia.foreign.foreign import Service
from xenia.hypervisor.domain import DomainHandle, create_domain
from xenia.hypervisor.foreign import DomainForeign
from xenia.hypervisor.machine import MachineHandle
from xenia.hypervisor.sched import DomainSched
from xenia.testing.idler import Chore

MEMORY = 8 << 20


@pytest.fixture
def domain() -> Iterator[DomainHandle]:
    domain = create_domain(MachineHandle(2 * MEMORY), kernel("shutdown_reboot"), memory=MEMORY)
    yield domain
    domain.destroy()


@pytest.mark.parametrize("service", Service)
def test_a_service_has_one_user_at_a_time(domain: DomainHandle, service: Service) -> None:
    foreign = DomainForeign(domain)
    for _ in range(3):
        interface = foreign.interface(service)
        assert len(interface.page) == 4096
        with pytest.raises(FrontendFault):
            foreign.interface(service)
        interface.close()
        interface.close()


def test_console_and_store_are_two_pages_of_the_domains_memory(domain: DomainHandle) -> None:
    foreign = DomainForeign(domain)
    console, store = foreign.interface(Service.CONSOLE), foreign.interface(Service.STORE)
    console.page[:5], store.page[:5] = b"hello", b"there"
    assert bytes(domain.page(domain.console_mfn)[:5]) == b"hello"
    assert bytes(domain.page(domain.store_mfn)[:5]) == b"there"
    console.close()
    store.close()


def test_another_domain_than_the_first_has_neither(domain: DomainHandle) -> None:
    for service in Service:
        with pytest.raises(FrontendFault):
            DomainForeign(domain, 3).interface(service)


def test_a_domain_that_is_destroyed_serves_nobody_and_who_has_it_may_let_go_later(domain: DomainHandle) -> None:
    foreign = DomainForeign(domain)
    interface = foreign.interface(Service.CONSOLE)
    assert domain.destroy() == 0
    with pytest.raises(FrontendFault):
        foreign.interface(Service.CONSOLE)
    interface.notify()
    assert os.eventfd_write(interface.event_fd, 1) is None  # type: ignore[func-returns-value]
    interface.close()


def test_a_ring_of_references_that_holds_a_domain_is_collected() -> None:
    """What uses the domain goes before the machine that it is in, whatever the collector begins with."""
    for _ in range(3):
        domain = create_domain(MachineHandle(2 * MEMORY), kernel("shutdown_reboot"), memory=MEMORY)
        foreign = DomainForeign(domain)
        ring: list[object] = [foreign, foreign.interface(Service.STORE)]
        ring.append(ring)
        domain.destroy()
        del domain, foreign, ring
        gc.collect()


@pytest.mark.parametrize(("scheduler", "threads"), [("null", {"d1v0"}), ("credit2", {"pcpu0", "pcpu1"})])
def test_what_is_lent_to_a_domain_is_done_on_its_idle_vcpus_thread_until_it_is_taken_back(
    scheduler: str, threads: set[str]
) -> None:
    with ExitStack() as stack:
        machine = MachineHandle(2 * MEMORY, scheduler=scheduler, pcpus=2 if scheduler == "credit2" else None)
        sleeper = create_domain(machine, kernel("shutdown_number"), command_line="sleep 1", memory=MEMORY)
        stack.callback(sleeper.destroy)
        chore = Chore()
        stack.callback(chore.close)
        foreign = DomainForeign(sleeper)
        interface = foreign.interface(Service.CONSOLE)
        stack.callback(interface.close)
        foreign.frames.lend(chore)
        sleeper.start()
        stack.callback(sleeper.stop)
        for _ in range(3):
            os.eventfd_write(chore.descriptor, 1)
            assert select([chore.done], [], [], 10)[0]
            os.eventfd_read(chore.done)
            assert chore.thread in {thread.native_id for thread in threading.enumerate() if thread.name in threads}
        foreign.frames.take_back(chore)
        foreign.frames.take_back(chore)
        os.eventfd_write(chore.descriptor, 1)
        interface.notify()  # which it waits for, to end
        assert sleeper.wait(10) is not None
        assert not select([chore.done], [], [], 0)[0]


def test_a_domain_goes_that_lent_something_to_pcpus_which_others_have_too() -> None:
    with ExitStack() as stack:
        machine = MachineHandle(4 * MEMORY, scheduler="credit2", pcpus=2)
        sleepers = [
            create_domain(machine, kernel("shutdown_number"), command_line="sleep 1", memory=MEMORY) for _ in range(2)
        ]
        chores = [Chore() for _ in sleepers]
        for pcpu, (sleeper, chore) in enumerate(zip(sleepers, chores, strict=True)):
            stack.callback(chore.close)
            DomainSched(sleeper).pin(0, hard={pcpu})
            DomainForeign(sleeper).frames.lend(chore)
            sleeper.start()
            stack.callback(sleeper.destroy)
            os.eventfd_write(chore.descriptor, 1)
            assert select([chore.done], [], [], 10)[0]
        sleepers[0].destroy()  # in the middle of what it lent
        assert select([chores[1].done], [], [], 0)[0]
        os.eventfd_read(chores[1].done)
        sleepers[1].pause()
        sleepers[1].unpause()
        os.eventfd_write(chores[1].descriptor, 1)
        assert select([chores[1].done], [], [], 10)[0]
