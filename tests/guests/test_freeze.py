"""Guests that suspend themselves and go on: where they were, or in other frames under another number."""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.guests.tiny import kernel
from xenia.backends.console.device import Console
from xenia.backends.console.sink import CallbackSink
from xenia.errors import ConfigError
from xenia.foreign.foreign import Service
from xenia.guests import embedded
from xenia.hypervisor.domain import DomainHandle, create_domain
from xenia.hypervisor.foreign import DomainForeign
from xenia.hypervisor.machine import MachineHandle
from xenia.hypervisor.persist import rebuild, resume, save
from xenia.hypervisor.saved import SavedGuest
from xenia.shutdown import Reason
from xenia.testing.persist import through_json
from xenia.toolstack.machine.domain import Domain
from xenia.toolstack.machine.machine import Machine

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
    domain = create_domain(machine, kernel("suspend"), memory=MEMORY)
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
    guest = Suspending(machine, create_domain(machine, kernel("suspend"), memory=MEMORY), bytearray())
    while guest.ends() is Reason.SUSPEND:
        resume(guest.domain)
    guest.let_go()
    assert guest.domain.audit() == []
    guest.domain.destroy()
    assert guest.output.decode().split("\r\n") == [*(f"round {n}" for n in range(1, 6)), "cancelled: 5", ""]


def test_a_suspend_that_cannot_be_saved_is_refused_in_one_line_and_the_guest_goes_on() -> None:
    machine = MachineHandle(MEMORY + (16 << 20), 1, True)
    guest = Suspending(machine, create_domain(machine, kernel("suspend_wrong"), memory=MEMORY), bytearray())
    refused: dict[str, str] = {}
    while guest.ends() is Reason.SUSPEND:
        guest.domain.stop()
        what = guest.output.decode().split("\r\n")[-2]
        try:
            state = save(guest.domain)
        except ConfigError as refusal:
            refused[what] = str(refusal)
            assert guest.domain.audit() == []
            resume(guest.domain)
            continue
        guest.let_go()
        guest.domain.destroy()
        guest = Suspending(machine, rebuild(machine, state), guest.output)
    guest.let_go()
    guest.domain.destroy()
    assert guest.output.decode().split("\r\n")[-2:] == ["and goes on", ""]
    assert len(refused) == 16
    assert all("the guest cannot be saved: " in text and "\n" not in text for text in refused.values())


def damaged(state: SavedGuest) -> Iterator[tuple[str, SavedGuest]]:
    """States that no guest can have left."""
    memory, vcpu, start = state.memory, state.vcpu, state.start
    pfns = array("Q", memory.pfns)
    levels = [kind & 7 for kind in memory.types]
    an_l4, plain = pfns[levels.index(4)], start.start_info
    for what, changed in {
        "a page twice": replace(memory, pfns=array("Q", [pfns[1], *pfns[1:]]).tobytes()),
        "a page beyond": replace(memory, pfns=array("Q", [1 << 40, *pfns[1:]]).tobytes()),
        "one page less": replace(memory, pfns=pfns[1:].tobytes()),
        "contents cut off": replace(memory, contents=memory.contents[:-1]),
        "a type that is none": replace(memory, types=bytes([7]) + memory.types[1:]),
        "more pages than can be": replace(memory, max_pages=1 << 50),
        "fewer pages than it has": replace(memory, max_pages=1),
        "pinned as no table": replace(memory, types=bytes([8]) + memory.types[1:]),
        "pinned as another level": replace(
            memory, types=bytes(kind ^ 1 if kind & 8 else kind for kind in memory.types)
        ),
        "tables that are memory": replace(memory, types=bytes(0 if kind & 7 else kind for kind in memory.types)),
    }.items():
        yield what, replace(state, memory=changed)
    for what, registers in {
        "a root that is no table": replace(vcpu, root_kernel=plain),
        "a root that is not there": replace(vcpu, root_kernel=1 << 30),
        "a user root that is no table": replace(vcpu, root_user=plain),
        "a GDT of page tables": replace(vcpu, gdt_frames=(an_l4,), gdt_entries=512),
        "a GDT too long": replace(vcpu, gdt_entries=8192),
        "a runstate that is none": replace(vcpu, runstate=4),
        "half a trap table": replace(vcpu, traps=vcpu.traps[:128]),
        "registers missing": replace(vcpu, context=replace(vcpu.context, gpr=(0,))),
        "debug registers missing": replace(vcpu, dr=()),
        "a root below all pages": replace(vcpu, root_kernel=-1),
        "a number that is none": replace(vcpu, kernel_sp="0"),  # type: ignore[arg-type]
        "a number too large": replace(vcpu, cr2=1 << 64),
    }.items():
        yield what, replace(state, vcpu=registers)
    for what, places in {
        "a store in a page table": replace(start, store=an_l4),
        "start_info in a page table": replace(start, start_info=an_l4),
        "a console that is not there": replace(start, console=1 << 30),
        "a p2m list in a page table": replace(start, p2m=array("Q", [an_l4]).tobytes()),
    }.items():
        yield what, replace(state, start=places)
    yield "half a shared_info", replace(state, arch_shared_info=state.arch_shared_info[:8])
    yield "a handle too long", replace(state, domain=replace(state.domain, handle=bytes(17)))


def test_a_damaged_state_is_refused_in_one_line_and_leaves_nothing() -> None:
    machine = MachineHandle(MEMORY + (16 << 20), 1, True)
    guest = Suspending(machine, create_domain(machine, kernel("suspend"), memory=MEMORY), bytearray())
    assert guest.ends() is Reason.SUSPEND
    state = guest.save()
    free = machine.memory.nr_free
    for what, wrong in damaged(state):
        with pytest.raises(ConfigError) as refused:
            print(what)  # shown where it fails
            rebuild(machine, wrong)
        assert "\n" not in str(refused.value), what
        assert machine.memory.nr_free == free, what
    guest = Suspending(machine, rebuild(machine, state), guest.output)
    assert guest.ends() is Reason.SUSPEND
    guest.let_go()
    guest.domain.destroy()


def test_a_state_gives_its_guest_no_right_to_ports_or_to_interrupts() -> None:
    machine = MachineHandle(MEMORY + (16 << 20), None, True)
    guest = Suspending(machine, create_domain(machine, kernel("suspend"), memory=MEMORY), bytearray())
    assert guest.ends() is Reason.SUSPEND
    state = guest.save()
    context = state.vcpu.context
    forged = replace(context, rflags=(context.rflags | 3 << 12 | 1 << 17) & ~(1 << 9))  # IOPL, VM; IF
    domain = rebuild(machine, replace(state, vcpu=replace(state.vcpu, context=forged)))
    assert domain.registers["rflags"] == context.rflags
    domain.destroy()


@pytest.fixture
def domain() -> Iterator[Domain]:
    """A guest that says a few lines and waits for words; it knows nothing of suspending."""
    image = embedded()
    assert image is not None
    said = bytearray()
    with Machine(Machine.memory_for(MEMORY)) as machine:
        domain = machine.create_domain(image, memory=MEMORY, console=said.extend)
        domain.start()
        yield domain
        domain.console.send(b"halt\r")
        assert domain.wait(30) is not None, "it did not go on"


def test_a_guest_that_does_not_offer_to_suspend_is_not_asked(domain: Domain) -> None:
    with pytest.raises(ConfigError, match="its kernel does not offer to suspend itself"):
        domain.freeze(5)
    assert domain.xenstore.read(f"/local/domain/{domain.domid}/control/shutdown") == ""


def test_a_guest_that_does_not_answer_goes_on_and_is_asked_no_more(domain: Domain) -> None:
    control = f"/local/domain/{domain.domid}/control"
    domain.xenstore.write(f"{control}/feature-suspend", "1")
    with pytest.raises(ConfigError, match=r"it did not suspend itself within 0\.2 seconds, and goes on$"):
        domain.freeze(0.2)
    assert domain.xenstore.read(f"{control}/shutdown") == ""
    assert not domain.suspends_late


def test_a_guest_that_suspends_itself_when_nobody_waits_any_more_goes_on() -> None:
    said = bytearray()
    with Machine(Machine.memory_for(MEMORY)) as machine:
        domain = machine.create_domain(kernel("suspend"), memory=MEMORY, console=said.extend)
        domain.start()
        domain.expect_late_suspend()
        shutdown = domain.wait(30)  # its second suspend: that one was nobody's wish, and is its end
        assert shutdown is not None and shutdown.reason is Reason.SUSPEND
        assert said.decode() == "round 1\r\n"


def test_a_guest_that_has_ended_cannot_be_frozen() -> None:
    with Machine(Machine.memory_for(MEMORY)) as machine:
        domain = machine.create_domain(kernel("shutdown_reboot"), memory=MEMORY)
        domain.start()
        domain.wait(30)
        with pytest.raises(ConfigError, match="it does not run"):
            domain.freeze()


def test_a_frozen_guest_goes_on_once_whoever_asks() -> None:
    outcomes: list[object] = []

    def go_on() -> None:
        try:
            outcomes.append(machine.rebuild(frozen))
        except ConfigError as refused:
            outcomes.append(str(refused))

    with Machine(Machine.memory_for(MEMORY, MEMORY)) as machine:
        domain = machine.create_domain(kernel("suspend"), memory=MEMORY)
        domain.xenstore.write(f"/local/domain/{domain.domid}/control/feature-suspend", "1")
        threading.Timer(0.05, domain.start).start()
        frozen = domain.freeze(30)
        threads = [threading.Thread(target=go_on) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(isinstance(outcome, Domain) for outcome in outcomes) == 1
        assert outcomes.count("the frozen guest 'guest' goes on already") == 3


def test_a_guest_that_is_destroyed_while_it_is_asked_is_not_waited_for() -> None:
    image = embedded()
    assert image is not None
    refused: list[str] = []

    with Machine(Machine.memory_for(MEMORY)) as machine:
        domain = machine.create_domain(image, memory=MEMORY)

        def freeze() -> None:
            with pytest.raises(ConfigError) as refusal:
                domain.freeze(60)
            refused.append(str(refusal.value))

        domain.start()
        control = f"/local/domain/{domain.domid}/control"
        domain.xenstore.write(f"{control}/feature-suspend", "1")
        thread = threading.Thread(target=freeze)
        thread.start()
        while domain.xenstore.get(f"{control}/shutdown") != "suspend":
            time.sleep(0.001)
        assert domain.destroy() and not domain.destroy()
        thread.join(10)
        assert refused == ["the guest 'guest' cannot be frozen: it was destroyed meanwhile"]
