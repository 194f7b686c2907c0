"""Every verb in every state: it is carried out, and the guest is in the state that follows; or it is refused."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.unit.toolstack.guest.test_guest import LIMIT, boot, ignore
from xenia.errors import ConfigError
from xenia.guests import embedded
from xenia.shutdown import Reason
from xenia.toolstack.config.disk import DiskConfig, parse_disk
from xenia.toolstack.config.machine import MIB, MachineConfig
from xenia.toolstack.config.net import parse_card
from xenia.toolstack.guest.build import Build, Rebuild
from xenia.toolstack.guest.card_verbs import CaptureCard, ChangeCard
from xenia.toolstack.guest.command_verbs import RunCommand
from xenia.toolstack.guest.debug_verbs import ServeDebuggers, ServeMemory
from xenia.toolstack.guest.dump_verbs import DumpCore
from xenia.toolstack.guest.guest import Guest
from xenia.toolstack.guest.life_verbs import LIFE, AskToEnd, Pause, Rename, SendNmi, Sysrq, Unpause
from xenia.toolstack.guest.memory_verbs import SetMemory
from xenia.toolstack.guest.sched_verbs import PinVcpu, SetShare
from xenia.toolstack.guest.state import State
from xenia.toolstack.guest.vcpu_verbs import SetVcpus
from xenia.toolstack.guest.verbs import (
    REMOTE,
    AttachDevice,
    Destroy,
    DetachDevice,
    Dmesg,
    ResizeDisk,
    Start,
    Statistics,
    Summary,
    Verb,
    Wait,
)
from xenia.toolstack.machine.machine import Machine

pytestmark = pytest.mark.skipif(embedded() is None, reason="the built-in guest is not built: no C compiler for x86-64")

MEMORY = 8 * MIB


def configuration(*disks: str) -> MachineConfig:
    cards = (parse_card("null,delay=0ms").for_guest("guest", 0),)
    return MachineConfig(kernel="demo", memory=MEMORY, disks=tuple(map(parse_disk, disks)), cards=cards)


WITH_A_WORD: dict[type[Verb[Any]], Any] = {AskToEnd: "poweroff", Sysrq: "h", Rename: "another", SetVcpus: 1}


def verb_of(kind: type[Verb[Any]]) -> Verb[Any]:
    """One that goes well wherever it is legal."""
    if kind is Build or kind is Rebuild:
        return kind(boot(), ignore)
    if kind is AttachDevice:
        return AttachDevice(parse_disk("memory:1M"))
    if kind is DetachDevice:
        return DetachDevice("disk", "xvda", LIMIT)
    if kind is ChangeCard:
        return ChangeCard("vif0", (("delay", "1ms"),), carrier=False)
    if kind is SetMemory:
        return SetMemory(MEMORY)
    if kind is CaptureCard:
        return CaptureCard("vif0", [os.open(os.devnull, os.O_WRONLY)])
    if kind is DumpCore:
        return DumpCore([os.memfd_create("core")])
    if kind is RunCommand:
        return RunCommand((), [socket.socketpair()[0].detach(), os.memfd_create("command")])
    if kind is ServeDebuggers:
        return ServeDebuggers([socket.create_server(("127.0.0.1", 0)).detach(), socket.socketpair()[0].detach()])
    if kind is ServeMemory:
        return ServeMemory([socket.socketpair()[0].detach()])
    if kind is PinVcpu:
        return PinVcpu(0, "0")
    if kind in WITH_A_WORD:
        return kind(WITH_A_WORD[kind])  # type: ignore[call-arg]
    return ResizeDisk("xvda", 2 * MIB) if kind is ResizeDisk else kind()


def halt(guest: Guest) -> None:
    """Let it end.  Nobody does Wait."""
    guest.require_domain().console.send(b"halt\r")
    assert guest.require_domain().wait(LIMIT) is not None


def bring(guest: Guest, state: State) -> None:
    """From the beginning to that state."""
    if state is not State.DEFINED:
        guest.do(Build(boot(), ignore))
    if state in (State.RUNNING, State.SHUTDOWN):
        guest.do(Start())
    if state is State.SHUTDOWN:
        halt(guest)
    if state is State.DESTROYED:
        guest.do(Destroy())
    assert guest.state is state


S = State
SAME = None
# What follows; what is not there is refused.
LEGAL: dict[type[Verb[Any]], dict[State, State | None]] = {
    Build: {S.DEFINED: S.BUILT},
    Start: {S.BUILT: S.RUNNING},
    Wait: {S.RUNNING: S.SHUTDOWN, S.SHUTDOWN: SAME},
    Rebuild: {S.SHUTDOWN: S.BUILT},
    AttachDevice: {S.BUILT: SAME, S.RUNNING: SAME},
    DetachDevice: {S.BUILT: SAME, S.RUNNING: SAME},
    ResizeDisk: {S.BUILT: SAME, S.RUNNING: SAME},
    ChangeCard: {S.BUILT: SAME, S.RUNNING: SAME},
    SetMemory: {S.BUILT: SAME, S.RUNNING: SAME},
    CaptureCard: {S.BUILT: SAME, S.RUNNING: SAME},
    AskToEnd: {S.RUNNING: SAME},
    Pause: {S.BUILT: SAME, S.RUNNING: SAME},
    Unpause: {S.BUILT: SAME, S.RUNNING: SAME},
    Sysrq: {S.RUNNING: SAME},
    SendNmi: {S.RUNNING: SAME},
    PinVcpu: {S.BUILT: SAME, S.RUNNING: SAME},
    SetShare: {S.BUILT: SAME, S.RUNNING: SAME},
    SetVcpus: {S.BUILT: SAME, S.RUNNING: SAME},
    Rename: {S.BUILT: SAME, S.RUNNING: SAME, S.SHUTDOWN: SAME},
    RunCommand: {S.BUILT: SAME, S.RUNNING: SAME},
    DumpCore: {S.BUILT: SAME, S.RUNNING: SAME, S.SHUTDOWN: SAME},
    ServeDebuggers: {S.BUILT: SAME, S.RUNNING: SAME},
    ServeMemory: {S.BUILT: SAME, S.RUNNING: SAME, S.SHUTDOWN: SAME},
    Statistics: dict.fromkeys(S),
    Summary: dict.fromkeys(S),
    Dmesg: dict.fromkeys(S),
    Destroy: dict.fromkeys(S, S.DESTROYED),
}
NOTHING_THERE: dict[tuple[type[Verb[Any]], State], str] = {  # legal, and there is nothing to look at
    (Statistics, S.DEFINED): "it has no domain just now",
    (Statistics, S.DESTROYED): "it has no domain just now",
    (Summary, S.DEFINED): "it has no domain just now",
    (Summary, S.DESTROYED): "it has no domain just now",
    (Dmesg, S.DEFINED): "it has no machine yet",
}
ALONE: dict[type[Verb[Any]], str] = {  # legal, and its machine shares nothing
    PinVcpu: "the null scheduler pins every vcpu to a pcpu of its own: ask for scheduler=credit2",
    SetShare: "its vcpus have host threads of their own, so it shares no processor by weights and caps",
}


@pytest.mark.parametrize("state", S, ids=lambda state: state.value)
@pytest.mark.parametrize("kind", LEGAL, ids=lambda kind: kind.__name__)
def test_a_verb_is_done_where_it_is_legal_and_refused_elsewhere(kind: type[Verb[Any]], state: State) -> None:
    guest = Guest(configuration("memory:1M"))
    try:
        bring(guest, state)
        verb = verb_of(kind)
        if kind is Wait and state is S.RUNNING:
            guest.require_domain().console.send(b"halt\r")
        if state not in LEGAL[kind]:
            complaint = f"cannot {verb.name} guest 'guest': it is {state.value}"
        elif kind in (PinVcpu, SetShare):
            complaint = ALONE[kind]
        elif (kind, state) in NOTHING_THERE:
            complaint = NOTHING_THERE[kind, state]
        else:
            guest.do(verb)
            assert guest.state is (LEGAL[kind][state] or state)
            return
        with pytest.raises(ConfigError) as refused:
            guest.do(verb)
        assert str(refused.value) == complaint and guest.state is state
    finally:
        guest.do(Destroy())


def test_the_table_has_every_verb() -> None:
    def all_of(kind: type[Verb[Any]]) -> Iterator[type[Verb[Any]]]:
        for one in kind.__subclasses__():
            yield from all_of(one)
            if not one.__abstractmethods__:
                yield one

    assert {kind for kind in all_of(Verb) if kind.__module__.startswith("xenia.")} == LEGAL.keys()  # type: ignore[type-abstract]
    assert all(kind.legal == LEGAL[kind].keys() for kind in LEGAL)


@pytest.mark.parametrize(
    "kind", [*REMOTE, *LIFE, CaptureCard, ChangeCard, SetMemory, SetVcpus], ids=lambda kind: kind.__name__
)
def test_a_verb_over_the_control_socket_is_the_same_at_the_other_end(kind: type[Any]) -> None:
    verb = verb_of(kind)
    read = kind.readers()[verb.word]({**verb.request(), "descriptors": list(verb.descriptors)})  # type: ignore[attr-defined]
    assert read.request() == verb.request() and read.word == verb.word  # type: ignore[attr-defined]


def test_a_guest_that_ended_is_shut_down_though_nobody_waited() -> None:
    guest = Guest(configuration())
    bring(guest, State.SHUTDOWN)
    with pytest.raises(ConfigError, match="cannot attach a disk to guest 'guest': it is shut down"):
        guest.do(AttachDevice(parse_disk("memory:1M")))
    ended = guest.do(Wait())
    assert ended is not None and ended.reason is Reason.POWEROFF
    guest.do(Destroy())


def test_guests_of_one_machine_end_one_by_one() -> None:
    with Machine(Machine.memory_for(MEMORY, MEMORY)) as machine:
        free = machine.free_memory
        first, second = Guest(configuration("memory:1M"), machine), Guest(configuration(), machine)
        for guest in (first, second):
            guest.do(Build(boot(), ignore))
            guest.do(Start())
        assert [disk.name for disk in first.require_domain().disks] == ["xvda"]
        first.do(Destroy())
        assert (first.state, second.state) == (State.DESTROYED, State.RUNNING)
        assert machine.domains == [second.require_domain()]
        halt(second)
        second.do(Rebuild(boot(), ignore))
        second.do(Destroy())
        assert machine.free_memory == free


def test_a_guests_own_machine_stays_while_others_live_in_it() -> None:
    guest = Guest(MachineConfig(kernel="demo", memory=MEMORY, machine_memory=Machine.memory_for(MEMORY, MEMORY)))
    guest.do(Build(boot(), ignore))
    assert guest.machine is not None
    other = guest.machine.create_domain(boot().kernel, memory=MEMORY)
    guest.do(Destroy())
    other.start()
    assert other.runs
    guest.machine.close()
    assert not other.runs


@dataclass(frozen=True)
class SlowConfig(DiskConfig):
    """A disk that is being opened until it may be."""

    asked: threading.Event = field(default_factory=threading.Event)
    may: threading.Event = field(default_factory=threading.Event)

    def open(self) -> Any:
        self.asked.set()
        assert self.may.wait(LIMIT)
        return parse_disk(self.stack).open()


def test_who_only_looks_or_waits_does_not_wait_for_a_change_and_the_next_change_does() -> None:
    guest = Guest(configuration())
    bring(guest, State.RUNNING)
    slow = SlowConfig("memory:1M")
    names: list[str] = []
    changes = [
        threading.Thread(target=lambda one=one: names.append(guest.do(AttachDevice(one))))
        for one in (slow, parse_disk("memory:1M"))
    ]
    changes[0].start()
    assert slow.asked.wait(LIMIT)
    changes[1].start()
    assert guest.do(Statistics())["disks"] == [] and guest.do(Wait(0)) is None
    slow.may.set()
    for change in changes:
        change.join(LIMIT)
    assert names == ["xvda", "xvdb"]
    guest.do(Destroy())
