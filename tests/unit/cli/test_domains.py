"""xl's verbs on domains, with a daemon that answers as it is told to."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from xenia.cli.domains import domains
from xenia.cli.exit_status import ExitStatus
from xenia.cli.memory import memory
from xenia.cli.parser import build_parser
from xenia.cli.voice import Voice
from xenia.errors import ConfigError
from xenia.toolstack.control.control import ControlServer, daemon_path

Verbs = dict[str, Callable[[Mapping[str, Any]], Any]]


@pytest.fixture
def verbs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Verbs]:
    """Of a daemon with two domains."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    names = {1: "web", 2: "db"}
    verbs: Verbs = {"domains": lambda _: [{"name": names[domid], "pid": 1, "domid": domid} for domid in names]}
    server = ControlServer("daemon", verbs, daemon_path())
    server.start()
    yield verbs
    server.close()


def run(verb: Callable[[Any, Voice], int], *words: str) -> tuple[int, str]:
    said = io.StringIO()
    return verb(build_parser().parse_args(words), Voice(said)), said.getvalue()


def only_the_first(request: Mapping[str, Any]) -> None:
    if request["domain"] != 1:
        raise ConfigError("not now")


def test_a_domain_that_refused_is_not_waited_for(verbs: Verbs) -> None:
    waited: list[int] = []

    def await_(request: Mapping[str, Any]) -> bool:
        waited.append(request["domain"])
        return True

    verbs |= {"shutdown": only_the_first, "await": await_}
    status, said = run(domains, "shutdown", "-a", "-w")
    assert (status, waited) == (ExitStatus.PROBLEM, [1])
    assert "guest 'db' (2): not now" in said
    assert "Domain 1 has been shut down" in said
    assert "Domain 2 has been" not in said


def test_a_daemon_that_fails_is_not_a_domain_that_has_been_shut_down(verbs: Verbs) -> None:
    def refuse(_: object) -> None:
        raise ConfigError("not now")

    verbs |= {"shutdown": lambda _: None, "await": refuse}
    status, said = run(domains, "shutdown", "-w", "web")
    assert status == ExitStatus.PROBLEM
    assert "not now" in said
    assert "has been shut down" not in said


def test_a_guest_that_reboots_while_its_memory_is_waited_for_is_one_line(verbs: Verbs) -> None:
    def refuse(_: object) -> None:
        raise ConfigError("it has no domain just now")

    verbs |= {"mem-set": lambda _: None, "statistics": refuse}
    for words in (["--json"], ["--wait", "1"]):
        with pytest.raises(ConfigError, match=r"guest 'web' \(1\): it has no domain just now"):
            run(memory, "mem-set", "web", "512", *words)


@pytest.mark.parametrize("time", ["nan", "-1", "soon"])
def test_what_is_no_time_is_not_waited_for(time: str) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["mem-set", "web", "512", "--wait", time])
