"""A command in a running guest on the standard streams of this process.

What is a file or a pipe goes to the machine's process as it is.  What is a terminal stays here, where keys are read and
signals come, and bytes are carried: nobody else holds the operator's terminal.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from xenia.errors import ConfigError
from xenia.toolstack.attach.signals import Signals
from xenia.toolstack.attach.terminal import Terminal
from xenia.toolstack.commands.process import GuestProcess, Starter

_PIECE = 1 << 16
_MOMENT = 0.3  # seconds
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_WATCHED = (*_PASSED_ON, signal.SIGWINCH, signal.SIGCONT)


@dataclass
class _Carried:
    """A stream that is carried here: from one descriptor to another."""

    source: int
    target: int
    waiting: bytes = b""
    over: bool = False

    def take(self) -> None:
        """Read what has come."""
        try:
            self.waiting = os.read(self.source, _PIECE)
        except BlockingIOError:
            return
        except OSError:
            self.waiting = b""  # a terminal that hung up
        self.over = not self.waiting

    def give(self) -> None:
        """Write what was read, as far as that goes."""
        try:
            self.waiting = self.waiting[os.write(self.target, self.waiting) :]
        except BlockingIOError:
            return
        except OSError:
            self.over = True


@dataclass
class _Streams:
    """The command's files, what is carried for them, and our ends of the command's files then."""

    files: dict[str, int] = field(default_factory=dict)
    handed_over: list[int] = field(default_factory=list)
    input: _Carried | None = None
    outputs: list[_Carried] = field(default_factory=list)


def run_here(
    start: Starter,
    args: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str,
    user: str,
    interactive: bool,
    tty: bool,
    on_wait: Callable[[], object],
    on_start: Callable[[], object],
) -> int:
    """Run a command in a guest on this process's streams; its exit status, 128 + N where signal N ended it.

    interactive   standard input is its own; nothing else
    tty           it has a terminal, of which ours is the screen and the keys
    on_wait       called where the guest takes its time, and `on_start` when it has begun then

    Signals that come are sent to it; the second SIGINT ends this.  Main thread only.  As GuestProcess.
    """
    terminal = Terminal()
    if tty and interactive and not terminal.is_tty:
        raise ConfigError("-it needs a terminal as standard input and output (-i takes input from anywhere)")
    with ExitStack() as stack:
        streams = _streams(stack, interactive, tty)
        window = (terminal.size() or (24, 80)) if tty else None
        term = {"TERM": os.environ.get("TERM", "xterm")} if tty else {}
        signals = stack.enter_context(Signals(*_WATCHED))
        process = stack.enter_context(
            GuestProcess(start, args, env={**term, **env}, cwd=cwd, user=user, window=window, **streams.files)
        )
        for one in streams.handed_over:
            os.close(one)
        if not select.select([process], [], [], _MOMENT)[0]:
            on_wait()
        while process.poll() is None and not process.started:
            ready = select.select([process.fileno(), signals.fileno()], [], [])[0]
            if signals.fileno() in ready:
                return 128 + signals.take()[0]
        on_start()
        if tty and interactive:
            stack.enter_context(terminal)
        status = _serve(process, streams, signals, terminal, tty=tty)
    return status if status >= 0 else 128 - status


def _streams(stack: ExitStack, interactive: bool, tty: bool) -> _Streams:
    found = _Streams()
    for name, here in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        if (name == "stdin" and not interactive) or (name == "stderr" and tty):
            continue
        if not os.isatty(here):
            found.files[name] = here
            continue
        source, target = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(target, False)
        found.files[name] = target if here else source
        found.handed_over.append(found.files[name])
        if here:
            found.outputs.append(_Carried(source, here))
            stack.callback(os.close, source)
        else:
            found.input = _Carried(here, target)
    return found


def _serve(process: GuestProcess, streams: _Streams, signals: Signals, terminal: Terminal, *, tty: bool) -> int:
    """Carry bytes and signals until the command has ended and what it wrote is out; its status."""
    interrupted = False
    status: int | None = None
    carried = [*streams.outputs, *([streams.input] if streams.input is not None else [])]
    while status is None or any(not one.over for one in streams.outputs):
        ready = _wait(process if status is None else None, carried, signals, terminal)
        if signals.fileno() in ready:
            for number in signals.take():
                if number in (signal.SIGWINCH, signal.SIGCONT):
                    terminal.resume()
                    if tty and (size := terminal.size()):
                        process.resize(*size)
                    continue
                if number is signal.SIGINT and interrupted:
                    return -signal.SIGINT
                interrupted = interrupted or number is signal.SIGINT
                process.send_signal(number)
        for one in carried:
            if one.source in ready and not one.waiting:
                one.take()
            if one.waiting:
                one.give()
        if streams.input is not None and streams.input.over and streams.input in carried:
            carried.remove(streams.input)
            os.close(streams.input.target)
        if status is None and process.fileno() in ready:
            status = process.poll()
    return status


def _wait(process: GuestProcess | None, carried: Sequence[_Carried], signals: Signals, terminal: Terminal) -> set[int]:
    poll = select.poll()
    poll.register(signals, select.POLLIN)
    if process is not None:
        poll.register(process, select.POLLIN)
    for one in carried:
        if one.waiting:
            poll.register(one.target, select.POLLOUT)
        elif not one.over and (one.source != terminal.stdin or terminal.in_foreground()):
            poll.register(one.source, select.POLLIN)
    return {descriptor for descriptor, _ in poll.poll()}
