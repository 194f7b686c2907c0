"""The daemon's own part: what it answers before there is a machine, while it comes to be, and after faults."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from xenia.cli.exit_status import ExitStatus
from xenia.cli.main import command
from xenia.errors import ConfigError, HypervisorBug
from xenia.toolstack.config.domain import DomainConfig
from xenia.toolstack.control.channel import Channel
from xenia.toolstack.control.client import Place, ask_daemon, find, places
from xenia.toolstack.control.control import ControlServer, daemon_path
from xenia.toolstack.service import listing, start
from xenia.toolstack.service.daemon import Daemon
from xenia.toolstack.service.machine_process import MachineProcess

MEMORY = 64 << 20
BUILD = {"kernel_name": "k", "nr_ramdisks": 0, "command_line": "", "devices": []}


class Process:
    """Of a machine: that it lives until it is closed."""

    def __init__(self) -> None:
        self.ended = threading.Event()

    def wait(self) -> int:
        self.ended.wait()
        return 0

    def poll(self) -> int | None:
        return 0 if self.ended.is_set() else None


class Machine:
    """What answers for the machine's process: `verbs` by name, and nothing of any other."""

    verbs: dict[str, Callable[[], Any]]

    def __init__(self, _: str) -> None:
        self.process = Process()

    def call(self, verb: str, *_: object, **__: object) -> Any:
        return self.verbs.get(verb, lambda: None)()

    def close(self) -> None:
        self.process.ended.set()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Machine]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(Machine, "verbs", {"build": lambda: 1, "await": threading.Event().wait}, raising=False)
    monkeypatch.setattr("xenia.toolstack.service.daemon.Remote", Machine)
    return Machine


@pytest.fixture
def daemon(machine: type[Machine]) -> Iterator[Daemon]:
    with closing(Daemon(MEMORY)) as daemon:
        daemon.start()
        yield daemon


def create(name: str) -> Any:
    config = DomainConfig(name=name, memory=16 << 20).as_dict()
    with open(os.devnull, "rb") as kernel:
        return ask_daemon("create", descriptors=[kernel.fileno()], config=config, build=BUILD)


def open_files() -> list[str]:
    return [os.readlink(one) for one in Path("/proc/self/fd").iterdir() if one.is_symlink()]


def fails() -> None:
    raise HypervisorBug("not today")


def test_to_be_asked_makes_no_machine(daemon: Daemon, machine: type[Machine]) -> None:
    machine.verbs["make"] = fails
    about = ask_daemon("about")
    assert (about["memory"], about["free_memory"], about["total_memory"]) == (MEMORY, MEMORY, MEMORY)
    assert "dmesg" not in about
    assert ask_daemon("domains") == []


def test_a_name_is_free_again_where_the_machine_did_not_come_to_be(daemon: Daemon, machine: type[Machine]) -> None:
    machine.verbs["make"] = fails
    with pytest.raises(ConfigError, match="fault in Xenia"):
        create("web")
    del machine.verbs["make"]
    assert create("web") == {"name": "web", "domid": 1}


def test_digits_are_a_domains_number_and_no_name(daemon: Daemon) -> None:
    with pytest.raises(ConfigError, match="'17' is a domain's number"):
        create("17")


def test_others_are_answered_while_the_machine_comes_to_be(daemon: Daemon, machine: type[Machine]) -> None:
    begun, on = threading.Event(), threading.Event()

    def make() -> None:
        begun.set()
        on.wait(60)

    machine.verbs["make"] = make
    creating = threading.Thread(target=create, args=("web",))
    creating.start()
    try:
        assert begun.wait(60)
        assert ask_daemon("domains") == []
        assert ask_daemon("stop", force=True) == []
    finally:
        on.set()
        creating.join()


def test_a_daemon_that_fails_is_no_daemon_without_domains(daemon: Daemon, machine: type[Machine]) -> None:
    create("web")
    machine.verbs["summaries"] = fails
    for look in (places, listing.rows, lambda: find(None), lambda: find("web")):
        with pytest.raises(ConfigError, match="fault in Xenia"):
            look()
    run = ControlServer("run", {})
    run.start()
    try:
        assert [one.name for one in find("run")] == ["run"]
    finally:
        run.close()


def test_what_is_no_socket_is_refused_as_a_console_and_closed(daemon: Daemon, machine: type[Machine]) -> None:
    create("web")
    before = open_files().count(os.devnull)
    with open(os.devnull, "rb") as nothing, pytest.raises(ConfigError, match="something else than a socket"):
        ask_daemon("console", descriptors=[nothing.fileno()], domain=1)
    assert open_files().count(os.devnull) == before


def refuses() -> None:
    raise ConfigError("the host refuses what is needed: no more threads")


def test_a_domain_that_cannot_begin_is_gone_and_its_name_is_free(daemon: Daemon, machine: type[Machine]) -> None:
    create("web")
    machine.verbs["begin"] = refuses
    with pytest.raises(ConfigError, match="cannot begin, and is destroyed: the host refuses"):
        ask_daemon("unpause", domain=1)
    assert ask_daemon("about")["domains"] == 0
    del machine.verbs["begin"]
    create("web")
    assert ask_daemon("about")["domains"] == 1


def test_a_domain_whose_machine_ends_while_it_is_built_is_gone_too(daemon: Daemon, machine: type[Machine]) -> None:
    def build() -> int:
        assert daemon._machine is not None
        daemon._machine.close()
        while daemon._machine is not None:  # until that is seen
            time.sleep(0.001)
        return 1

    machine.verbs["build"] = build
    with pytest.raises(ConfigError, match="the machine's process has ended"):
        create("web")
    assert ask_daemon("about")["domains"] == 0
    machine.verbs["build"] = lambda: 1
    assert create("web")["name"] == "web"


@pytest.fixture
def other_daemon(machine: type[Machine], monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """One of another build, which says other things of its domains."""
    monkeypatch.setattr("xenia.toolstack.service.daemon.build", lambda: "another")
    monkeypatch.setattr(Daemon, "_rows", lambda _: [{"title": "web"}])
    with closing(Daemon(MEMORY)) as daemon:
        daemon.start()
        yield daemon


OTHER = f"the daemon (process {os.getpid()}) is of another build of Xenia: 'xenia daemon --stop' ends it"


def test_a_daemon_of_another_build_is_named_as_such(other_daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=re.escape(OTHER)):
        start.ensure()
    with pytest.raises(ConfigError, match=rf"no such verb.*\({re.escape(OTHER)}"):
        ask_daemon("fly")
    assert command(["list"]) == ExitStatus.USAGE  # what it says makes no sense here
    said = capsys.readouterr().err
    assert said.startswith(f"xenia: {OTHER}") and said.count("\n") == 1
    assert command(["daemon", "--status"]) == ExitStatus.OK
    assert OTHER in capsys.readouterr().err


def test_a_fault_of_who_did_not_ask_the_daemon_is_told_whatever_build_that_is_of(
    other_daemon: Daemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> int:
        raise KeyError("our own")

    monkeypatch.setattr("xenia.toolstack.control.client._has_answered", threading.Event(), raising=False)
    monkeypatch.setattr("xenia.cli.main.dispatch", fail)
    assert command(["run"]) == ExitStatus.BUG
    assert "our own" in capsys.readouterr().err


def test_a_daemon_of_this_build_is_not(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start.ensure()
    asked: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(daemon, "_about", lambda: asked.append("about"))
        with pytest.raises(ConfigError, match="no such verb") as refused:
            ask_daemon("fly")
        with pytest.raises(ConfigError, match="no domain 7"):
            Place(daemon_path(), "web", os.getpid(), 7).ask("statistics")
    assert "build" not in str(refused.value) and asked == [], "its refusal has said of which build it is"
    monkeypatch.setattr(daemon, "_rows", lambda: [{"title": "web"}])
    assert command(["list"]) == ExitStatus.BUG
    assert "KeyError" in capsys.readouterr().err


def test_what_is_asked_of_a_domain_that_has_just_gone_is_refused_and_no_fault() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        process = MachineProcess(Channel(theirs))
        for verb in (process._do_begin, process._do_await, process._do_rebuild, process._do_end):
            with pytest.raises(ConfigError, match="it is gone"):
                verb([], key=3)
        with pytest.raises(ConfigError, match="it is gone"):
            process._do_guest([], key=3, word="pause", request={})
