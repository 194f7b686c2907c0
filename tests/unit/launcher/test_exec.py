"""`xenia exec` as it is mostly asked for, which the launcher carries out without an interpreter: against somebody who
answers like a guest and runs the commands here."""

from __future__ import annotations

import json
import os
import pty
import random
import shutil
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

from tests.launchers import build_launcher
from xenia.agent.pairs import MAX_CONFIG
from xenia.launcher.build import INTERPRETER
from xenia.toolstack.control.control import ControlServer

LIMIT = 60.0  # seconds


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


@dataclass(frozen=True)
class Launcher:
    """One, with an interpreter beside it that writes down when it was started."""

    path: Path

    @property
    def starts(self) -> Path:
        return self.path.with_name("starts")

    def __call__(self, *arguments: str, **options: Any) -> tuple[int, bytes, bytes, bool]:
        """The status of `xenia exec`, its output, its errors, and whether it took an interpreter."""
        self.starts.unlink(missing_ok=True)
        environment = {**os.environ, "HERE": "there", **options.pop("more", {})}
        ended = subprocess.run(
            [self.path, "exec", *arguments], capture_output=True, timeout=LIMIT, check=False, env=environment, **options
        )
        return ended.returncode, ended.stdout, ended.stderr, self.starts.exists()


@pytest.fixture(scope="module")
def checked_launcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that ends with a complaint where it reads or writes what is not its own."""
    folder = tmp_path_factory.mktemp("bin")
    return build_launcher(folder, "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.fixture
def xenia(launcher: Path) -> Launcher:
    return Launcher(launcher)


def test_streams_and_status_are_the_commands_and_no_interpreter_is_started(guests: Guests, xenia: Launcher) -> None:
    assert xenia("web", "sh", "-c", "echo out; echo err >&2; exit 7") == (7, b"out\n", b"err\n", False)
    assert xenia("web", "--", "sh", "-c", "kill -9 $$") == (137, b"", b"", False)
    assert xenia("-i", "web", "cat", input=b"x" * 300_000) == (0, b"x" * 300_000, b"", False)
    assert xenia("web", "cat", input=b"not for it") == (0, b"", b"", False)


def test_the_options_are_those_of_the_grammar(guests: Guests, xenia: Launcher) -> None:
    options = ["-e", "A=b=c", "--env", "HERE", "--workdir", "/tmp", "-u", "me:us"]
    assert xenia(*options, "web", "--", "echo", "--", "-x") == (0, b"-- -x\n", b"", False)
    quick = guests.asked.pop()
    assert quick["env"][1:] == ["A=b=c", "HERE=there"]
    assert (quick["cwd"], quick["user"], quick["arg"]) == (["/tmp"], ["me:us"], ["echo", "--", "-x"])
    number = str(next(guests.folder.iterdir())).rpartition(".")[2]
    slowly = xenia(*options, number, "--", "echo", "--", "-x")  # by its number: in the long way
    assert slowly[:3] == (0, b"-- -x\n", b"") and slowly[3]
    whole = guests.asked.pop()
    assert {**quick, "rows": ["0"], "columns": ["0"]} == whole


def test_the_environment_is_that_of_the_long_way(guests: Guests, xenia: Launcher) -> None:
    options = ["-e", "A=1", "-e", "HERE=", "-e", "A=2", "-e", "PATH=/own", "-e", "HERE", "-e", "A"]
    number = str(next(guests.folder.iterdir())).rpartition(".")[2]
    for guest, is_slow in (("web", False), (number, True)):
        assert xenia(*options, guest, "true", more={"A": "3=4"})[3] == is_slow
    quick, slow = ({pair.partition("=")[0]: pair for pair in asked["env"]} for asked in guests.asked)
    assert quick == slow == {"A": "A=3=4", "HERE": "HERE=there", "PATH": "PATH=/own"}
    assert len(guests.asked[0]["env"]) == 3
    assert not xenia(*["-e", "B=1"] * 256, "web", "true")[3]
    status, *_, is_slow = xenia(*["-e", "B=1"] * 257, "web", "true")
    assert (status, is_slow) == (0, True)


def test_bytes_are_the_guests_own_where_they_are_of_its_encoding(guests: Guests, xenia: Launcher) -> None:
    odd = os.fsdecode(b"\xc3\xa4\xff")
    for locale, is_slow in (("C.UTF-8", False), ("C", False), ("de_DE.ISO-8859-1", True)):
        assert xenia("web", "echo", odd, more={"LC_ALL": locale}) == (0, b"\xc3\xa4\xff\n", b"", is_slow)
    assert not xenia("web", "echo", "plain", more={"LC_ALL": "de_DE.ISO-8859-1"})[3]


def test_a_command_is_as_long_as_the_agent_reads_and_no_longer(guests: Guests, xenia: Launcher) -> None:
    longest = ["true", *["x" * 130_000] * 8]
    assert xenia("web", *longest)[3] is False
    said = sum(len(f"{name}={value}") + 1 for name, values in guests.asked.pop().items() for value in values)
    last = "x" * (MAX_CONFIG - said - len("arg=") - 1)
    assert xenia("web", *longest, last) == (0, b"", b"", False)
    status, _, errors, is_slow = xenia("web", *longest, last + "x")
    assert (status, is_slow) == (2, True) and b"at most 1048576 are taken" in errors


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nosuch", "true"], "no guest 'nosuch' is running"),
        (["web"], "exec needs a command"),
        (["--fly", "web", "true"], "what is --fly?"),
        (["-e", "NO_SUCH_ONE", "web", "true"], "there is no such variable here"),
        (["-e", "=value", "web", "true"], "names no variable"),
        (["-it", "web", "true"], "-it needs a terminal"),
    ],
)
def test_what_is_not_quick_is_told_in_the_words_of_the_long_way(
    guests: Guests, xenia: Launcher, arguments: list[str], complaint: str
) -> None:
    status, output, errors, _ = xenia(*arguments)
    assert (status, output) == (2, b"") and complaint in errors.decode()
    assert not guests.asked


def test_a_domain_of_the_daemons_is_asked_for_by_its_name(guests: Guests, xenia: Launcher) -> None:
    daemon = ControlServer("daemon", {"exec": guests.exec}, guests.folder / "daemon")
    daemon.start()
    assert xenia("db", "echo", "there") == (0, b"there\n", b"", False)
    assert guests.requests[-1]["domain"] == "db"
    daemon.close()


def test_a_guest_is_found_where_temporary_files_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, xenia: Launcher
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    folder = tmp_path / f"xenia-run-{os.getuid()}"
    folder.mkdir(0o700)
    found = Guests(folder)
    server = ControlServer("web", {"exec": found.exec}, folder / f"web.{os.getpid()}")
    server.start()
    assert xenia("web", "echo", "there") == (0, b"there\n", b"", False)
    twin = ControlServer("web", {"exec": found.exec}, folder / "web.1")  # which of them?
    assert xenia("web", "true")[3]
    twin.close()
    server.close()


def test_what_is_closed_here_is_left_to_the_interpreter(guests: Guests, xenia: Launcher) -> None:
    closed = subprocess.run(
        ["sh", "-c", f"'{xenia.path}' exec web sh -c 'echo out; echo err >&2; exit 3' 2>&-"],
        stdout=subprocess.PIPE, timeout=LIMIT, check=False,
    )  # fmt: skip
    assert (closed.returncode, closed.stdout, xenia.starts.exists()) == (3, b"out\n", True)


def test_the_flags_of_a_pipe_are_left_alone_and_the_end_of_a_fifo_is_heard(
    guests: Guests, xenia: Launcher, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    here = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with open(fifo, "wb") as writer:
        writer.write(b"said before")
    os.set_blocking(here, True)
    assert xenia("-i", "web", "cat", stdin=here) == (0, b"said before", b"", False)
    assert os.get_blocking(here)
    os.close(here)


def test_signals_go_to_the_command_and_the_second_interrupt_ends(guests: Guests, xenia: Launcher) -> None:
    script = "trap 'echo got' INT TERM; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen([xenia.path, "exec", "web", "sh", "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        for number in (signal.SIGTERM, signal.SIGINT):
            process.send_signal(number)
            assert process.stdout.readline() == b"got\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 130


def test_a_signal_that_comes_before_the_guest_has_answered_goes_to_the_command(guests: Guests, xenia: Launcher) -> None:
    sent = threading.Event()
    guests.before = lambda: sent.wait(LIMIT)
    script = "trap 'echo got; exit' TERM; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen([xenia.path, "exec", "web", "sh", "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        sent.set()
        assert process.stdout.read() == b"got\n"
        assert process.wait(LIMIT) == 0


def test_a_guest_that_does_not_answer_in_time_is_not_asked_again(guests: Guests, xenia: Launcher) -> None:
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


def test_a_command_that_is_lost_or_refused_says_so(guests: Guests, xenia: Launcher) -> None:
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


def test_on_a_terminal_the_command_has_a_pipe_and_its_output_is_seen(guests: Guests, xenia: Launcher) -> None:
    screen, terminal = pty.openpty()
    with subprocess.Popen(
        [xenia.path, "exec", "web", "sh", "-c", "echo here; test -p /dev/stdout"], stdout=terminal, stderr=terminal
    ) as process:
        os.close(terminal)
        assert process.wait(LIMIT) == 0
    assert os.read(screen, 100) == b"here\r\n"
    os.close(screen)


def test_on_a_terminal_that_does_not_wait_no_output_is_lost(guests: Guests, xenia: Launcher) -> None:
    """One that another program has made so, which the shell, and its commands, share with it."""
    screen, terminal = pty.openpty()
    os.set_blocking(terminal, False)
    with subprocess.Popen(
        [xenia.path, "exec", "web", "sh", "-c", "yes | head -n 50000; echo end"], stdout=terminal, stderr=terminal
    ) as process:
        os.close(terminal)
        shown = b""
        with suppress(OSError):  # nobody has the other end any more
            while part := os.read(screen, 4096):
                shown += part
        assert process.wait(LIMIT) == 0
    assert (shown.count(b"y\r\n"), shown[-5:]) == (50000, b"end\r\n")
    os.close(screen)


def test_an_agent_that_is_long_in_coming_is_shown_on_a_terminal(guests: Guests, xenia: Launcher) -> None:
    seen = threading.Event()

    def act(control: socket.socket, args: list[str], files: dict[str, int]) -> None:
        seen.wait(LIMIT)
        for one in files.values():
            os.close(one)
        tell(control, started=True)
        tell(control, status=4)

    guests.act = act
    for plain, shown in (("", b"\x1b[1mxenia:\x1b[0m"), ("1", b"xenia:")):
        seen.clear()
        screen, terminal = pty.openpty()
        with subprocess.Popen(
            [xenia.path, "exec", "web", "true"], stdout=subprocess.DEVNULL, stderr=terminal,
            env={**os.environ, "TERM": "xterm", "NO_COLOR": plain},
        ) as process:  # fmt: skip
            os.close(terminal)
            line = b"\r\x1b[K" + shown + b" waiting for the guest's agent"
            said = b""
            while len(said) < len(line):
                said += os.read(screen, len(line) - len(said))
            seen.set()
            assert (said, process.wait(LIMIT)) == (line, 4)
        assert os.read(screen, 100) == b"\r\x1b[K"
        os.close(screen)


def test_a_signal_that_is_ignored_stays_so(guests: Guests, xenia: Launcher) -> None:
    script = "trap 'echo got; exit' TERM; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen(
        ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", xenia.path, "exec", "web", "sh", "-c", script],
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGHUP)  # else it would be passed on first, and end the script
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == b"got\n"
        assert process.wait(LIMIT) == 0


NEWS = [
    b"", b"{", b'{"status": ', b'{"status": 256}', b'{"status": 3}}', b'{"status": -1}', b'{"status": 99999999999999}',
    b'{"signal": 128}', b'{"signal": }', b"\0" * 10, b"[" * 60_000, b'{"lost": 7}', b'{"lost": "\xff\x1b[2J"}', b"null",
]  # fmt: skip


@pytest.mark.parametrize("news", NEWS)
def test_news_that_make_no_sense_are_a_line(guests: Guests, checked_launcher: Path, news: bytes) -> None:
    def act(control: socket.socket, args: list[str], files: dict[str, int]) -> None:
        for one in files.values():
            os.close(one)
        tell(control, started=True)
        control.send(news)
        control.close()

    guests.act = act
    status, output, errors, _ = Launcher(checked_launcher)("web", "true")
    assert (status, output) == (119, b"") and errors.startswith(b"xenia: guest 'web': ")
    assert errors.count(b"\n") == 1 and b"\x1b" not in errors


@pytest.mark.parametrize("seed", range(8))
def test_what_is_asked_for_and_answered_at_random_harms_nobody(
    tmp_path: Path, checked_launcher: Path, seed: int
) -> None:
    """Whoever is asked answers anything, in pieces; what is asked is of words that mean something, and of others.  What
    is the interpreter's is let alone."""
    chance, answers = random.Random(seed), random.Random(seed)
    folder = tmp_path / "xenia"
    folder.mkdir(0o700)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "web.1"))
    listener.listen()
    programs = tmp_path / "bin"
    programs.mkdir()
    program = shutil.copy(checked_launcher, programs)
    (programs / INTERPRETER).write_text("#!/bin/sh\nexit 3\n")
    (programs / INTERPRETER).chmod(0o755)
    beginnings = (b'{"answer"', b'{"answer": null}\n', b'{"error": "no"}\n', b"", b"\n" * 9000)

    def answer() -> None:
        while True:
            client, _ = listener.accept()
            with client, suppress(OSError):
                _, (told, *files), _, _ = socket.recv_fds(client, 65536, 8)
                with socket.socket(fileno=told) as control:
                    for one in files:
                        os.close(one)
                    client.sendall(answers.choice(beginnings) + answers.randbytes(answers.choice((0, 1, 5000))))
                    for _ in range(answers.randrange(3)):
                        control.send(answers.choice((b'{"started": true}', *NEWS[1:])))

    threading.Thread(target=answer, daemon=True).start()
    words = ("-i", "-e", "A=b", "A", "", "--", "-", "-w", "/", "web", "web", "w" * 3000, "\udcff", "-u", "1", "=")
    for _ in range(40):
        environment = {
            "XDG_RUNTIME_DIR": chance.choice((str(tmp_path), str(tmp_path), "/" + "x" * 5000, "relative")),
            "TMPDIR": str(tmp_path), "PATH": os.environ["PATH"], "LANG": chance.choice(("", "C.UTF-8", "de_DE")),
        }  # fmt: skip
        arguments = [chance.choice(words) for _ in range(chance.randrange(8))]
        if chance.random() < 0.7:
            arguments = ["web", *arguments]
        ended = subprocess.run(
            [program, "exec", *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT,
            env=environment, check=False,
        )  # fmt: skip
        assert b"Sanitizer" not in ended.stderr and b"runtime error" not in ended.stderr, (arguments, ended.stderr)
        assert ended.returncode in (0, 2, 3, *range(128, 256)), arguments
