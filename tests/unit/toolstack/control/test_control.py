"""Asking guests that run, over their sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from xenia.errors import ConfigError
from xenia.toolstack.control.client import ask, ask_all
from xenia.toolstack.control.control import ControlServer
from xenia.toolstack.runtime import runtime_directory


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "xenia"


def refuse(_: object) -> object:
    raise ConfigError("not now")


def lacks(_: object) -> object:
    raise MemoryError


@pytest.fixture
def server() -> Iterator[ControlServer]:
    server = ControlServer(
        "web",
        {
            "statistics": lambda _: {"requests": 3}, "double": lambda request: request["number"] * 2,
            "refuse": refuse, "lack": lacks,
        },
    )  # fmt: skip
    server.start()
    yield server
    server.close()


def test_a_guest_answers_by_its_name_and_by_its_process(server: ControlServer) -> None:
    answer = [{"pid": os.getpid(), "number": os.getpid(), "requests": 3}]
    assert ask_all("statistics").answers == answer
    assert ask_all("statistics", "web").answers == answer
    assert ask_all("statistics", str(os.getpid())).answers == answer


def test_a_guest_that_is_not_there_is_told_with_those_that_are(server: ControlServer) -> None:
    with pytest.raises(ConfigError, match=r"no guest 'db' is running \(running: web\)"):
        ask_all("statistics", "db")


def test_nobody_runs() -> None:
    assert ask_all("statistics").answers == []
    with pytest.raises(ConfigError, match="none is running"):
        ask_all("statistics", "web")


def test_what_the_host_has_no_more_of_is_said(server: ControlServer) -> None:
    with pytest.raises(ConfigError, match="the host refuses what is needed: Cannot allocate memory"):
        ask("web", "lack")


def test_a_verb_has_what_it_needs_with_it(server: ControlServer) -> None:
    assert ask("web", "double", number=4) == 8


def test_a_fault_of_xenias_own_is_named_as_such(server: ControlServer, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigError, match="double failed by a fault in Xenia"):
        ask("web", "double")
    assert "KeyError" in caplog.text


def test_a_name_that_several_have_is_not_enough(server: ControlServer, directory: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(directory / "web.1"))
        other.listen()
        with pytest.raises(ConfigError, match=rf"more than one guest 'web' .* by its process: 1, {os.getpid()}"):
            ask("web", "double", number=4)
        assert ask(str(os.getpid()), "double", number=4) == 8


def test_a_guest_that_does_not_answer_is_not_waited_for_long(directory: Path) -> None:
    directory.mkdir()
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(directory / "deaf.1"))
        deaf.listen()
        with pytest.raises(ConfigError, match=r"guest 'deaf' \(1\) does not answer"):
            ask("deaf", "double", patience=0.05, number=4)


def test_a_guest_that_is_stopped_hides_none_of_the_others(server: ControlServer, directory: Path) -> None:
    with ExitStack() as stack:
        for number in range(3, 6):
            deaf = stack.enter_context(socket.socket(socket.AF_UNIX))
            deaf.bind(str(directory / f"deaf.{number}"))
            deaf.listen(0)
            for _ in range(number - 3):  # the last two have no room for one more that asks
                waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                with suppress(BlockingIOError):
                    waiting.connect(str(directory / f"deaf.{number}"))
        answers, silent = ask_all("statistics", patience=0.2)
    assert [one["pid"] for one in answers] == [os.getpid()]
    assert silent == [f"guest 'deaf' ({number}) does not answer" for number in range(3, 6)]


def test_a_refusal_says_whose_it_is(server: ControlServer) -> None:
    with pytest.raises(ConfigError, match=rf"guest 'web' \({os.getpid()}\): not now"):
        ask("web", "refuse")
    with pytest.raises(ConfigError, match="no such verb; there are statistics, double, refuse"):
        ask("web", "dance")


@pytest.mark.parametrize("line", [b"", b"\n", b"{}\n", b"[1]\n", b'{"verb": 7}\n', b"[" * 5000, b"\xff\n", b"x" * 9000])
def test_nonsense_is_answered_and_harms_nobody(server: ControlServer, directory: Path, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(directory / f"web.{os.getpid()}"))
        client.sendall(line)
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as answer:
            assert answer.readline().startswith(b'{"error"')
    assert ask_all("statistics").answers != []


def test_the_socket_of_a_dead_process_is_taken_away(server: ControlServer, directory: Path) -> None:
    left = directory / "dead.1"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(left))
    assert [one["pid"] for one in ask_all("statistics").answers] == [os.getpid()]
    assert not left.exists()


def test_a_server_that_is_closed_leaves_nothing(directory: Path) -> None:
    ControlServer("web", {}).close()
    assert list(directory.iterdir()) == []


def test_without_a_runtime_directory_there_is_one_for_the_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert runtime_directory() == tmp_path / f"xenia-run-{os.getuid()}"
    assert runtime_directory().stat().st_mode & 0o777 == 0o700
    (tmp_path / f"xenia-run-{os.getuid()}").rmdir()
    (tmp_path / f"xenia-run-{os.getuid()}").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="belongs to someone else"):
        runtime_directory()
