"""Commands of a guest as its machine has them: when nobody comes for one, and when the guest goes."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable

import pytest

from tests.unit.backends.streams.test_command import ALIVE, STATE, STATUS, _file
from tests.unit.backends.streams.test_device import PATIENCE, PROD, PROD_EVENT, Agent
from xenia.backends.streams.command import Command
from xenia.backends.streams.ring import IN, State
from xenia.errors import ConfigError
from xenia.testing.foreign import MemoryForeign, MemoryGuest
from xenia.toolstack.commands.process import GuestProcess
from xenia.toolstack.machine import commands as module
from xenia.toolstack.machine.commands import Commands, RunsCommands


class Keys:
    """The store, of which the agent's key alone is looked at."""

    def __init__(self) -> None:
        self.said: str | None = None
        self.on_look: Callable[[], object] = lambda: None

    def get(self, key: str) -> str | None:
        if key.endswith("/memory/target"):
            return str(96 << 10)
        self.on_look()
        return self.said

    def watch(self, *_: object) -> Keys:
        return self

    def close(self) -> None:
        """Of a watch."""

    def atomically(self, _: object) -> None:
        """What is asked of the agent: it hears nothing."""


class Guest(RunsCommands):
    """One with agents that wait, and say where."""

    def __init__(self) -> None:
        self.memory = MemoryGuest(7, nr_pages=2048)
        self.keys = Keys()
        self.commands = Commands(MemoryForeign(self.memory), self.keys, lambda: self.said)  # type: ignore[arg-type]
        self.said = ""
        self._serial = 0

    def start_command(self, streams: object, files: list[int]) -> None:
        self.commands.start(streams, files)  # type: ignore[arg-type]

    def have_one_wait(self) -> Agent:
        agent = Agent(self.memory)
        agent.words[ALIVE] = 1
        agent.set(IN, PROD_EVENT, 1)
        self._serial += 1
        self.keys.said = f"1 {self._serial} {agent.port.number} {agent.first.refs[0]}"
        return agent

    def await_taken(self, agent: Agent) -> None:
        """Until a command was given to that one."""
        while not agent.word(IN, PROD):
            assert agent.port.wait(PATIENCE)


@pytest.fixture
def guest() -> Guest:
    return Guest()


def test_a_command_that_was_about_to_begin_when_the_guest_went_is_refused_and_holds_nothing(guest: Guest) -> None:
    guest.have_one_wait()
    guest.keys.on_look = guest.commands.close
    with GuestProcess(guest.starter, ["true"]) as process, pytest.raises(ConfigError, match="it is gone"):
        process.wait(60)
    guest.memory.assert_let_go()


@pytest.mark.parametrize(
    ("waits", "console", "why"),
    [
        ("1 1 0 3072", "", "no memory left for a command: 3 MiB free of 96 MiB; "),
        ("1 1 0 0", "", "lacks the modules"),
        ("1 1 7 8", "Out of memory: Killed process 7 (init)", "ended processes when no memory was free of 96 MiB; "),
        ("1 1 7 8", "", "does not answer: it was ended, or the guest is busy"),
    ],
)
def test_why_a_command_cannot_begin_is_told(
    guest: Guest, monkeypatch: pytest.MonkeyPatch, waits: str, console: str, why: str
) -> None:
    monkeypatch.setattr(module, "_GLANCE", 0.01)
    monkeypatch.setattr(module, "_ANSWER", 0.01)
    guest.keys.said, guest.said, guest.commands._taken = waits, console, waits
    with GuestProcess(guest.starter, ["true"]) as process, pytest.raises(ConfigError, match=re.escape(why)):
        process.wait(60)


def die(agent: Agent) -> None:
    """As the kernel says it of a process that waited."""
    agent.words[ALIVE] = 0
    agent.port.notify()


def test_a_command_goes_to_the_next_one_with_all_its_input_where_who_waited_died_before_taking_it(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_GLANCE", 0.01)
    first = guest.have_one_wait()
    with GuestProcess(guest.starter, ["cat"], stdin=_file(b"the input")) as process:
        guest.await_taken(first)
        first.read(10)  # not all of it: what runs no command cannot have run it
        second = guest.have_one_wait()
        die(first)
        received = b""
        while part := second.read():
            received += part
        assert received.endswith(b"the input")
        second.words[STATUS], second.words[STATE] = 3, State.HAS_EXITED
        second.port.notify()
        assert process.wait(60) == 3
    guest.commands.close()
    guest.memory.assert_let_go()


def test_one_that_was_taken_is_not_run_a_second_time(guest: Guest) -> None:
    agent = guest.have_one_wait()
    with GuestProcess(guest.starter, ["true"]) as process:
        while agent.read():
            continue
        die(agent)
        guest.have_one_wait()
        with pytest.raises(ConfigError, match="agent ended before the command did"):
            process.wait(60)
    guest.commands.close()


def test_a_guest_whose_agents_die_for_ever_is_not_asked_for_ever(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_GLANCE", 0.01)
    monkeypatch.setattr(module, "_MOST_GIVEN", 3)
    agent = guest.have_one_wait()
    with GuestProcess(guest.starter, ["true"]) as process:
        for _ in range(3):
            guest.await_taken(agent)
            dying, agent = agent, guest.have_one_wait()
            die(dying)
        with pytest.raises(ConfigError, match="ended 3 times before"):
            process.wait(60)
    guest.commands.close()
    guest.memory.assert_let_go()


def test_one_that_does_not_close_keeps_no_other_from_it(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Command] = []

    def close(command: Command) -> None:
        original(command)
        closed.append(command)
        raise RuntimeError("a fault of ours")

    original = Command.close
    monkeypatch.setattr(Command, "close", close)
    with GuestProcess(guest.starter, ["true"]), GuestProcess(guest.starter, ["true"]):
        for count in (1, 2):
            guest.have_one_wait()
            deadline = time.monotonic() + 60
            while len(guest.commands._running) < count:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        with pytest.raises(RuntimeError):
            guest.commands.close()
    assert len(closed) == 2
    guest.memory.assert_let_go()


def test_files_that_cannot_be_handed_over_leave_none_behind(guest: Guest) -> None:
    mine, theirs = socket.socketpair()
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError):
        guest.starter((), [theirs.fileno(), -1])
    assert os.listdir("/proc/self/fd") == before
    mine.close()
    theirs.close()


def test_a_guest_whose_agent_is_known_to_come_may_boot_as_slowly_as_it_does(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ANSWER", 0.0)
    monkeypatch.setattr(module, "_GLANCE", 0.01)
    guest.commands._created -= 100
    with GuestProcess(guest.starter, ["true"]) as process, pytest.raises(ConfigError, match="has no agent"):
        process.wait(60)
    guest.commands.agent_comes = True
    with GuestProcess(guest.starter, ["true"]) as process, pytest.raises(TimeoutError):
        process.wait(0.5)
    guest.commands._created -= 1000
    with GuestProcess(guest.starter, ["true"]) as process, pytest.raises(ConfigError, match="not come in 600 seconds"):
        process.wait(60)
    guest.keys.said = "1 1 0 0"
    with GuestProcess(guest.starter, ["true"]) as process, pytest.raises(ConfigError, match="lacks the modules"):
        process.wait(60)
