"""The agent itself, run on the host with a pseudo-terminal for its console; it then leaves the host alone."""

import os
import platform
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from xenia.agent import build
from xenia.agent.config import AgentConfig, Mode
from xenia.agent.protocol import AgentConnection, ConsoleText, Event, Exited, Killed, Started, Stderr, Stdout

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64" or build.find_compiler() is None,
    reason="runs the agent natively: needs x86-64 Linux and a C compiler",
)
PATIENCE = 60.0  # a test that waits this long has failed


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("agent") / "agent"
    build.compile_agent(target)
    return target


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ('#include "inner.h"\nint main(void) { return 0; }', r"inner\.h:1:\d+: (fatal )?error: "),
        ("static int unused;\nint main(void) { return nothing; }", r"agent\.c:2:\d+: error: "),
        ('__asm__("nonsense");\nint main(void) { return 0; }', r"[Ee]rror: .*nonsense"),
        ("int other(void);\nvoid _start(void) { other(); }", r"undefined (reference|symbol).*other"),
    ],
    ids=["a header", "a warning before", "the assembler", "the linker"],
)
def test_why_it_cannot_be_compiled_is_the_first_error(
    source: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "agent.c").write_text(source)
    (tmp_path / "inner.h").write_text("no sense at all;")
    monkeypatch.setattr(build, "SOURCE", tmp_path / "agent.c")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    with pytest.raises(build.CannotCompile, match=says) as raised:
        build.compile_agent(tmp_path / "agent")
    assert "\n" not in str(raised.value)


def test_a_compiler_that_gives_no_reason_is_told(tmp_path: Path) -> None:
    with pytest.raises(build.CannotCompile, match="false cannot build the guest agent: it gives no reason"):
        build.compile_agent(tmp_path / "agent", lambda: "/bin/false")


class Running:
    """An agent on a pseudo-terminal, and what came of it."""

    def __init__(self, agent: Path, config: AgentConfig, directory: Path) -> None:
        path = directory / "xenia.conf"
        path.write_bytes(config.encode())
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen([agent, path], stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        self.terminal = os.ttyname(slave)
        os.close(slave)
        os.set_blocking(self.master, False)
        self.connection = AgentConnection()
        self.events: list[Event] = []
        self._outgoing = b""

    def stdout(self) -> bytes:
        return b"".join(event.data for event in self.events if isinstance(event, Stdout))

    def stderr(self) -> bytes:
        return b"".join(event.data for event in self.events if isinstance(event, Stderr))

    def text(self) -> bytes:
        return b"".join(event.data for event in self.events if isinstance(event, ConsoleText))

    def send(self, data: bytes) -> None:
        self._outgoing += data

    def until(self, done: Callable[[], bool]) -> None:
        """Carry bytes until `done`, or the console closes."""
        deadline = time.monotonic() + PATIENCE
        while not done():
            left = deadline - time.monotonic()
            assert left > 0, (self.events[-3:], self.text())
            writers = [self.master] if self._outgoing else []
            readable, writable, _ = select.select([self.master], writers, [], left)
            if readable:
                try:
                    data = os.read(self.master, 65536)
                except OSError:  # the other side is closed
                    break
                if not data:
                    break
                self.events += self.connection.receive(data)
            if writable:
                self._outgoing = self._outgoing[os.write(self.master, self._outgoing) :]

    def started(self) -> bool:
        return any(isinstance(event, Started) for event in self.events)

    def ended(self) -> bool:
        return any(isinstance(event, (Exited, Killed)) for event in self.events)

    def feed(self, data: bytes) -> None:
        """Give the command all of `data` as its input, as credit allows, and end it."""
        self.until(self.started)
        while data:
            self.until(lambda: self.connection.credit > 0)
            piece, data = data[: self.connection.credit], data[self.connection.credit :]
            self.send(self.connection.send_input(piece))
        self.send(self.connection.send_end_of_input())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


Runner = Callable[..., Running]


@pytest.fixture
def run(agent: Path, tmp_path: Path) -> Iterator[Runner]:
    started = []

    def runner(*args: str, mode: Mode = Mode.COMMAND, directory: str = "/") -> Running:
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "PS1": "ready> ", "TERM": "dumb"}
        config = AgentConfig(mode, args=args, environment=environment, directory=directory, rows=33, columns=99)
        started.append(Running(agent, config, tmp_path))
        return started[-1]

    yield runner
    for running in started:
        running.close()


def test_a_commands_output_and_status_come_back(run: Runner) -> None:
    running = run("sh", "-c", "echo out; echo err >&2; exit 42")
    running.until(running.ended)
    assert (running.stdout(), running.stderr(), running.events[-1]) == (b"out\n", b"err\n", Exited(42))
    assert running.text() == b""
    assert running.process.wait(PATIENCE) == 0


def test_binary_input_of_megabytes_passes_through_unharmed(run: Runner) -> None:
    data = os.urandom(1 << 20) + bytes(range(256)) * 4096
    running = run("cat")
    running.feed(data)
    running.until(running.ended)
    assert running.events[-1] == Exited(0)
    assert running.stdout() == data


def test_the_end_of_input_reaches_the_command(run: Runner) -> None:
    running = run("wc", "-c")
    running.feed(b"12345")
    running.until(running.ended)
    assert running.stdout().split() == [b"5"]


def test_without_an_end_of_input_the_command_goes_on(run: Runner) -> None:
    running = run("sh", "-c", "read line; echo got $line; read line; echo got $line")
    running.until(running.started)
    running.send(running.connection.send_input(b"one\n"))
    running.until(lambda: b"got one\n" in running.stdout())
    running.send(running.connection.send_input(b"two\n"))
    running.until(running.ended)
    assert running.stdout() == b"got one\ngot two\n"


def test_a_command_that_reads_late_gets_all_of_its_input(run: Runner) -> None:
    running = run("sh", "-c", "echo ready; sleep 0.2; wc -c")
    running.feed(b"x" * 200000)
    running.until(running.ended)
    assert running.stdout().split() == [b"ready", b"200000"]


def test_no_more_credit_comes_than_the_agent_and_the_pipe_can_hold(run: Runner) -> None:
    running = run("sh", "-c", "echo waiting >&2; exec sleep 1000")
    running.until(lambda: running.stderr() == b"waiting\n")
    window = sent = running.connection.credit
    running.send(running.connection.send_input(b"z" * window))
    running.until(lambda: running.connection.credit > 0)  # for what went into the pipe
    sent += running.connection.credit
    running.send(running.connection.send_input(b"z" * running.connection.credit))
    running.send(running.connection.send_signal(signal.SIGTERM))
    running.until(running.ended)
    assert running.events[-1] == Killed(signal.SIGTERM)
    assert sent + running.connection.credit <= 2 * window


def test_output_waits_while_nobody_takes_it(run: Runner) -> None:
    running = run("sh", "-c", "head -c 3000000 /dev/zero; echo done >&2")
    running.until(running.started)
    assert running.process.poll() is None
    running.until(running.ended)
    assert len(running.stdout()) == 3000000
    assert running.stderr() == b"done\n"


def test_a_signal_that_kills_the_command_is_reported(run: Runner) -> None:
    running = run("sh", "-c", "kill -TERM $$")
    running.until(running.ended)
    assert running.events[-1] == Killed(signal.SIGTERM)


def test_a_signal_sent_reaches_the_commands_children_too(run: Runner) -> None:
    running = run("sh", "-c", "trap '' TERM; (trap - TERM; echo ready; exec sleep 1000); echo child: $?; exit 3")
    running.until(lambda: b"ready" in running.stdout())
    running.send(running.connection.send_signal(signal.SIGTERM))
    running.until(running.ended)
    assert (running.stdout(), running.events[-1]) == (b"ready\nchild: 143\n", Exited(3))


def test_a_command_that_does_not_exist_is_127(run: Runner) -> None:
    running = run("no-such-program")
    running.until(running.ended)
    assert (running.stderr(), running.events[-1]) == (b"xenia: no-such-program: not found\n", Exited(127))


def test_a_file_that_cannot_be_executed_is_126(run: Runner) -> None:
    running = run("/etc/passwd")
    running.until(running.ended)
    assert (running.stderr(), running.events[-1]) == (b"xenia: /etc/passwd: cannot be executed\n", Exited(126))


def test_a_missing_directory_is_126(run: Runner) -> None:
    running = run("true", directory="/no/such/place")
    running.until(running.ended)
    assert (running.stderr(), running.events[-1]) == (b"xenia: no directory /no/such/place\n", Exited(126))


def test_children_left_behind_are_not_waited_for(run: Runner) -> None:
    running = run("sh", "-c", "sleep 1000 & echo bye")
    running.until(running.ended)
    assert (running.stdout(), running.events[-1]) == (b"bye\n", Exited(0))


def test_closed_standard_output_does_not_end_the_command(run: Runner) -> None:
    running = run("sh", "-c", "exec >&- 2>&-; cat > /dev/null; exit 5")
    running.feed(b"x" * 100000)
    running.until(running.ended)
    assert running.events[-1] == Exited(5)


def test_text_that_others_print_on_the_console_stays_apart(run: Runner) -> None:
    running = run("sh", "-c", "echo before; read go; echo after")
    running.until(lambda: b"before" in running.stdout())
    terminal = os.open(running.terminal, os.O_WRONLY | os.O_NOCTTY)
    os.write(terminal, b"[   12.3] kernel message\n")
    os.close(terminal)
    running.until(lambda: b"message\n" in running.text())
    running.send(running.connection.send_input(b"\n"))
    running.until(running.ended)
    assert running.stdout() == b"before\nafter\n"
    assert running.text() == b"[   12.3] kernel message\n"


def test_a_shell_has_the_terminal_and_job_control_and_its_end_ends_the_agent(run: Runner) -> None:
    running = run("sh", "-i", mode=Mode.SHELL)
    running.until(lambda: b"ready> " in running.text())
    running.send(b"""sh -c 'echo st""arted; exec sleep 1000'\n""")
    running.until(lambda: b"started" in running.text())
    running.send(b"\x03")
    running.until(lambda: running.text().count(b"ready> ") == 2)
    running.send(b"exit\n")
    running.until(lambda: running.process.poll() is not None)
    assert running.process.wait(PATIENCE) == 0


def test_the_terminal_is_raw_for_a_command(run: Runner) -> None:
    running = run("cat")
    running.until(running.started)
    mode = termios.tcgetattr(running.master)
    assert not mode[3] & (termios.ECHO | termios.ICANON | termios.ISIG)
    assert not mode[1] & termios.OPOST
