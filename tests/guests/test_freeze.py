"""Guests that suspend themselves and go on: where they were, or in other frames under another number."""

from __future__ import annotations

import pytest

from tests.guests.tiny import kernel
from xenia.backends.console.device import Console
from xenia.backends.console.sink import CallbackSink
from xenia.foreign.foreign import Service
from xenia.hypervisor.foreign import DomainForeign
from xenia.hypervisor.machine import DomainHandle, MachineHandle
from xenia.hypervisor.persist import rebuild, resume, save
from xenia.hypervisor.saved import SavedGuest
from xenia.shutdown import Reason
from xenia.testing.persist import through_json

pytestmark = pytest.mark.guest

MEMORY = 16 << 20


class Suspending:
    """A tiny guest that runs, suspends itself, and is put elsewhere."""

    def __init__(self, machine: MachineHandle, domain: DomainHandle, output: bytearray) -> None:
        self.machine, self.domain, self.output = machine, domain, output
        self.foreign = DomainForeign(domain)
        self.console = Console("suspend", self.foreign, CallbackSink(output.extend))
        self.store = self.foreign.interface(Service.STORE)
        self.console.start()
        domain.start()

    def ends(self) -> Reason:
        shutdown = self.domain.wait(30)
        assert shutdown is not None, self.output.decode()
        return shutdown.reason

    def let_go(self) -> None:
        self.domain.stop()
        self.console.close(10)
        self.store.close()

    def save(self) -> SavedGuest:
        self.let_go()
        state = through_json(save(self.domain))
        assert self.domain.audit() == []
        assert self.domain.destroy() == 0
        return state


@pytest.mark.parametrize("scatter", [None, 1])
def test_a_suspended_guest_goes_on_in_other_frames(scatter: int | None) -> None:
    machine = MachineHandle(MEMORY + (16 << 20), scatter, True)
    domain = machine.create_domain(kernel("suspend"), memory=MEMORY)
    numbers = [domain.domid]
    guest = Suspending(machine, domain, bytearray())
    while guest.ends() is Reason.SUSPEND:
        state = guest.save()
        domain = rebuild(machine, state)
        numbers.append(domain.domid)
        guest = Suspending(machine, domain, guest.output)
    guest.let_go()
    assert domain.audit() == []
    assert domain.destroy() == 0
    assert guest.output.decode().split("\r\n") == [*(f"round {n}" for n in range(1, 6)), "cancelled: 0", ""]
    assert len(set(numbers)) == len(numbers) == 6


def test_a_suspend_that_is_cancelled_changes_nothing() -> None:
    machine = MachineHandle(MEMORY + (16 << 20), None, True)
    guest = Suspending(machine, machine.create_domain(kernel("suspend"), memory=MEMORY), bytearray())
    while guest.ends() is Reason.SUSPEND:
        resume(guest.domain)
    guest.let_go()
    assert guest.domain.audit() == []
    guest.domain.destroy()
    assert guest.output.decode().split("\r\n") == [*(f"round {n}" for n in range(1, 6)), "cancelled: 5", ""]
