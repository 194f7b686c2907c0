"""`xenia exec` as it is mostly asked for, against somebody who answers like a guest and runs the commands here."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from xenia.toolstack.control.control import ControlServer

SOURCE = Path(__file__).parents[3] / "src"
LIMIT = 60.0  # seconds
# What the quick way is for: none of these is loaded by it.
SLOW = {"argparse", "json", "socket", "re", "dataclasses", "contextlib", "subprocess", "pathlib", "logging", "signal"}


@dataclass
class Guests:
    """Those that answer: what they were asked, and what they do then."""

    folder: Path
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    requests: list[Mapping[str, Any]] = field(default_factory=list)
    act: Callable[[socket.socket, list[str], dict[str, int]], None] | None = None
    before: Callable[[], object] = lambda: None  # it answers

    def exec(self, request: Mapping[str, Any]) -> None:
        """The verb."""
        told, described, *rest = request["descriptors"]
        request["descriptors"].clear()
        self.requests.append({name: value for name, value in request.items() if name != "descriptors"})
        words: dict[str, list[str]] = {}
        for pair in os.pread(described, 1 << 20, 0).split(b"\0")[:-1]:
            name, _, value = os.fsdecode(pair).partition("=")
            words.setdefault(name, []).append(value)
        self.asked.append(words)
        os.close(described)
        files = dict(zip(request["streams"], rest, strict=True))
        control = socket.socket(fileno=told)
        threading.Thread(target=self.act or run_here, args=(control, words["arg"], files), daemon=True).start()
        self.before()


def tell(control: socket.socket, **news: object) -> None:
    control.send(json.dumps(news).encode())


def run_here(control: socket.socket, args: list[str], files: dict[str, int]) -> None:
    """Run it, and pass signals on."""
    tell(control, started=True)
    null = os.open(os.devnull, os.O_RDWR)
    for one in files.values():
        os.set_blocking(one, True)  # what a program takes for granted; a guest's rings do not
    process = subprocess.Popen(args, **{name: files.get(name, null) for name in ("stdin", "stdout", "stderr")})  # type: ignore[call-overload]
    for one in (null, *files.values()):
        os.close(one)

    def hear() -> None:
        with suppress(OSError):
            while word := control.recv(4):
                process.send_signal(int.from_bytes(word, sys.byteorder) & 0xFFFFFF)
        process.kill()  # who asked has gone

    threading.Thread(target=hear, daemon=True).start()
    status = process.wait()
    with suppress(OSError):
        tell(control, **({"signal": -status} if status < 0 else {"status": status}))
        control.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def guests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guests]:
    """One of `xenia run`, called web."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    found = Guests(tmp_path / "xenia")
    server = ControlServer("web", {"exec": found.exec})
    server.start()
    yield found
    server.close()


def program(told: int, *arguments: str) -> list[str]:
    """The command as a script of a package's is written, which says at the end what slow ones were loaded."""
    script = (
        "import os, sys; end = os._exit; before = {*sys.modules}; new = lambda: ' '.join({*sys.modules} - before)\n"
        f"os._exit = lambda status: (os.write({told}, new().encode()), end(status))\n"
        "from xenia.__main__ import main; main()"
    )
    return [sys.executable, "-c", script, "exec", *arguments]


def xenia(*arguments: str, **options: Any) -> tuple[int, bytes, bytes, set[str]]:
    """Its status, its output, its errors, and which of SLOW it loaded."""
    loaded, told = os.pipe()
    ended = subprocess.run(
        program(told, *arguments), capture_output=True, timeout=LIMIT, pass_fds=[told], check=False, **options,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "HERE": "there"},
    )  # fmt: skip
    os.close(told)
    with open(loaded, "rb") as names:
        modules = {*names.read().decode().split()}
    return ended.returncode, ended.stdout, ended.stderr, modules & SLOW


def test_the_streams_and_the_status_are_the_commands_and_nothing_slow_is_loaded(guests: Guests) -> None:
    assert xenia("web", "sh", "-c", "echo out; echo err >&2; exit 7") == (7, b"out\n", b"err\n", set())
    assert xenia("web", "--", "sh", "-c", "kill -9 $$") == (137, b"", b"", set())
    assert xenia("-i", "web", "cat", input=b"x" * 300_000) == (0, b"x" * 300_000, b"", set())
    assert xenia("web", "cat", input=b"not for it") == (0, b"", b"", set())


def test_the_options_are_those_of_the_grammar(guests: Guests) -> None:
    options = ["-e", "A=b=c", "--env", "HERE", "--workdir", "/tmp", "-u", "me:us"]
    assert xenia(*options, "web", "--", "echo", "--", "-x") == (0, b"-- -x\n", b"", set())
    quick = guests.asked.pop()
    assert quick["env"][1:] == ["A=b=c", "HERE=there"]
    assert (quick["cwd"], quick["user"], quick["arg"]) == (["/tmp"], ["me:us"], ["echo", "--", "-x"])
    number = str(next(guests.folder.iterdir())).rpartition(".")[2]
    slowly = xenia(*options, number, "--", "echo", "--", "-x")  # by its number: in the long way
    assert slowly[:3] == (0, b"-- -x\n", b"") and slowly[3]
    whole = guests.asked.pop()
    assert {**quick, "rows": ["0"], "columns": ["0"]} == whole


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nosuch", "true"], "no guest 'nosuch' is running"),
        (["web"], "exec needs a command"),
        (["--fly", "web", "true"], "what is --fly?"),
        (["-e", "NO_SUCH_ONE", "web", "true"], "there is no such variable here"),
        (["-it", "web", "true"], "-it needs a terminal"),
    ],
)
def test_what_is_not_quick_is_told_in_the_words_of_the_long_way(
    guests: Guests, arguments: list[str], complaint: str
) -> None:
    status, output, errors, _ = xenia(*arguments)
    assert (status, output) == (2, b"") and complaint in errors.decode()
    assert not guests.asked


def test_a_domain_of_the_daemons_is_asked_for_by_its_name(guests: Guests) -> None:
    daemon = ControlServer("daemon", {"exec": guests.exec}, guests.folder / "daemon")
    daemon.start()
    assert xenia("db", "echo", "there") == (0, b"there\n", b"", set())
    assert guests.requests[-1]["domain"] == "db"
    daemon.close()


def test_signals_go_to_the_command_and_the_second_interrupt_ends(guests: Guests) -> None:
    script = "trap 'echo got' INT TERM; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen(
        [sys.executable, "-c", "from xenia.__main__ import main; main()", "exec", "web", "sh", "-c", script],
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(SOURCE)},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        for number in (signal.SIGTERM, signal.SIGINT):
            process.send_signal(number)
            assert process.stdout.readline() == b"got\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 130


def test_a_signal_that_comes_before_the_guest_has_answered_goes_to_the_command(guests: Guests) -> None:
    sent = threading.Event()
    guests.before = lambda: sent.wait(LIMIT)
    script = "trap 'echo got; exit' TERM; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen(
        [sys.executable, "-c", "from xenia.__main__ import main; main()", "exec", "web", "sh", "-c", script],
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(SOURCE)},
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        sent.set()
        assert process.stdout.read() == b"got\n"
        assert process.wait(LIMIT) == 0


def test_a_guest_that_does_not_answer_in_time_is_not_asked_again(guests: Guests) -> None:
    """It may carry it out yet: a command is not run twice."""
    over = threading.Event()

    def act(control: socket.socket, args: list[str], files: dict[str, int]) -> None:
        for one in files.values():
            os.close(one)

    guests.act = act
    guests.before = lambda: over.wait(LIMIT)
    status, output, errors, _ = xenia("web", "echo", "twice?")
    over.set()
    assert len(guests.asked) == 1
    assert (status, output, errors) == (2, b"", b"xenia: guest 'web' does not answer\n")


def test_a_command_that_is_lost_or_refused_says_so(guests: Guests) -> None:
    def act(control: socket.socket, args: list[str], files: dict[str, int]) -> None:
        for one in files.values():
            os.close(one)
        if args == ["refused"]:
            tell(control, refused="it has no agent")
        elif args == ["lost"]:
            tell(control, started=True)
            tell(control, lost="the guest's agent ended")
        control.close()

    guests.act = act
    assert xenia("web", "refused")[:3] == (2, b"", b"xenia: it has no agent\n")
    assert xenia("web", "lost")[:3] == (119, b"", b"xenia: guest 'web': the guest's agent ended\n")
    assert xenia("web", "gone")[:3] == (119, b"", b"xenia: guest 'web': the guest is gone\n")


def test_on_a_terminal_the_command_has_a_pipe_and_its_output_is_seen(guests: Guests) -> None:
    screen, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", "from xenia.__main__ import main; main()", "exec", "web", "sh", "-c", "echo here; test -p /dev/stdout"],  # noqa: E501
        stdout=terminal, stderr=terminal, env={**os.environ, "PYTHONPATH": str(SOURCE)},
    ) as process:  # fmt: skip
        os.close(terminal)
        assert process.wait(LIMIT) == 0
    assert os.read(screen, 100) == b"here\r\n"
    os.close(screen)


def test_on_a_terminal_that_does_not_wait_no_output_is_lost(guests: Guests) -> None:
    """One that another program has made so, which the shell, and its commands, share with it."""
    screen, terminal = pty.openpty()
    os.set_blocking(terminal, False)
    with subprocess.Popen(
        [sys.executable, "-c", "from xenia.__main__ import main; main()", "exec", "web", "sh", "-c", "yes | head -n 50000; echo end"],  # noqa: E501
        stdout=terminal, stderr=terminal, env={**os.environ, "PYTHONPATH": str(SOURCE)},
    ) as process:  # fmt: skip
        os.close(terminal)
        shown = b""
        with suppress(OSError):  # nobody has the other end any more
            while part := os.read(screen, 4096):
                shown += part
        assert process.wait(LIMIT) == 0
    assert (shown.count(b"y\r\n"), shown[-5:]) == (50000, b"end\r\n")
    os.close(screen)
