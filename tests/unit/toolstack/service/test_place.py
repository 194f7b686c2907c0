"""Where a daemon is found, and what one that was killed leaves."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from xenia.errors import ConfigError
from xenia.toolstack.control.client import NoSuchGuest, ask_daemon
from xenia.toolstack.control.control import ControlServer, daemon_path
from xenia.toolstack.service import place
from xenia.toolstack.service.start import detach, unit


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "xenia"


def test_there_is_one_daemon_at_a_time() -> None:
    held = place.hold()
    with pytest.raises(ConfigError, match=rf"runs already, in process {os.getpid()}$"):
        place.hold()
    assert place.is_held()
    os.close(held)
    assert not place.is_held()


def test_who_only_looks_hinders_no_daemon_from_being_the_one(directory: Path) -> None:
    os.close(place.hold())
    looking = os.open(directory / "daemon.lock", os.O_RDWR)
    fcntl.flock(looking, fcntl.LOCK_SH)
    timer = threading.Timer(0.03, os.close, (looking,))
    timer.start()
    os.close(place.hold())
    timer.join()


def test_the_end_of_a_daemon_can_be_waited_for() -> None:
    held = place.hold()
    assert not place.await_end(0)
    timer = threading.Timer(0.03, os.close, (held,))
    timer.start()
    assert place.await_end(60)
    timer.join()


def test_where_a_daemon_runs_it_is_not_given_other_memory() -> None:
    held = place.hold()
    server = ControlServer("daemon", {"about": lambda _: {"pid": 7}}, daemon_path())
    server.start()
    try:
        assert detach() == 7
        with pytest.raises(ConfigError, match="runs already, in process 7, with the memory"):
            detach(64 << 20)
    finally:
        server.close()
        os.close(held)


def test_who_takes_his_leave_leaves_nothing_and_who_is_killed_says_what_went_with_him() -> None:
    program = (
        "from xenia.toolstack.service import place\n"
        "import time\n"
        "held = place.hold()\n"
        "place.note([{'name': 'web', 'domid': 1}, {'name': 'db', 'domid': 2}])\n"
        "print(flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as daemon:
        assert daemon.stdout is not None and daemon.stdout.readline()
        assert place.killed() is None
        daemon.send_signal(signal.SIGKILL)
        daemon.wait()
    assert str(place.killed()) == f"the daemon (process {daemon.pid}) was killed; its domains ended with it: web, db"
    place.forget()
    assert place.killed() is None


def test_nonsense_where_it_was_noted_is_nobody_killed(directory: Path) -> None:
    place.note([])
    for nonsense in ("", "[]", "{", '{"pid": "x", "domains": 7}'):
        (directory / "daemon.json").write_text(nonsense)
        assert place.killed() is None


class _OfSomebodyElse:
    """What the kernel says of a client's process: its number, user and group."""

    size = 12

    @staticmethod
    def unpack(_: bytes) -> tuple[int, int, int]:
        return 1, os.getuid() + 1, 0


def test_a_client_of_somebody_else_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ControlServer("daemon", {"domains": lambda _: []}, daemon_path())
    server.start()
    try:
        assert ask_daemon("domains") == []
        monkeypatch.setattr("xenia.toolstack.control.control._UCRED", _OfSomebodyElse)
        with pytest.raises(NoSuchGuest):
            ask_daemon("domains")
    finally:
        server.close()


def test_the_unit_starts_the_program_that_printed_it() -> None:
    assert "\nExecStart=/opt/bin/xenia daemon\n" in unit("/opt/bin/xenia")
    assert "\nExecStart=/opt/bin/xenia daemon --memory 2G\n" in unit("/opt/bin/xenia", 2 << 30)
