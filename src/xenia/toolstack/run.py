"""`run`: find what to boot, boot it, hand its console to the operator, and tell how it ended."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from xenia.errors import ConfigError
from xenia.toolstack.guest import Attach, Build, Destroy, Guest, Start, Wait
from xenia.toolstack.machine_config import MachineConfig
from xenia.toolstack.session import Ended, PlainLine, Session, Waker, Why
from xenia.toolstack.terminal import Output, Terminal


class Words(Protocol):
    """Where news for the operator go."""

    def say(self, text: str) -> None:
        """One line of news."""

    def progress(self, what: str, done: int, total: int) -> None:
        """`done` of `total` bytes of `what`; total 0 when it is not known."""

    def busy(self, what: str) -> None:
        """Show, on a terminal only and until the next word, what is being waited for."""

    def clear(self) -> None:
        """Take away what `busy` or `progress` shows."""


class Ending(Enum):
    """How a run ended."""

    POWEROFF = auto()
    REBOOT = auto()
    SUSPEND = auto()
    CRASH = auto()  # Xenia crashed the guest for a fault of its own
    PANIC = auto()  # the guest's kernel gave up
    WATCHDOG = auto()
    COMMAND = auto()  # the command ended, with `status`
    LOST = auto()  # the guest ended before its command did
    LEFT = auto()  # the operator pressed Ctrl-]
    SIGNAL = auto()  # `signal` ended the run
    OUTPUT = auto()  # standard output takes nothing any more


@dataclass(frozen=True)
class Outcome:
    """How a run ended, with what belongs to that ending."""

    ending: Ending
    status: int = 0
    signal: signal.Signals | None = None
    reason: str = ""  # CRASH, LOST: what happened, in a few words
    detail: str = ""  # CRASH: registers and stack; OUTPUT: what failed


@dataclass(frozen=True)
class Boot:
    """What to boot: a kernel and an initrd as file names, and the kernel's command line."""

    kernel: str
    initrd: str | None
    cmdline: str


def run(config: MachineConfig, words: Words, *, stdin: int = 0, stdout: int = 1) -> Outcome:
    """Boot what `config` asks for and carry bytes until it ends.  Main thread only, for the sake of signals.

    ConfigError: there is no such kernel, or it cannot boot, or the memory is not there.
    """
    boot = prepare(config, words)
    guest = Guest(config)
    waker = Waker()
    output = Output(stdout, waker.wake)
    terminal = Terminal(stdin, stdout)
    line = PlainLine(output)
    try:
        guest.do(Build(boot.kernel, boot.initrd, boot.cmdline))
        guest.do(Attach(line.receive))
        session = Session(terminal, guest.require_domain().console, line, output, waker)
        if terminal.is_tty:
            words.say("Ctrl-] leaves the console")
        guest.do(Start())
        try:
            ended = session.run(lambda: guest.do(Wait()))
        finally:
            output.cancel()
            guest.do(Destroy())
            session.close()
        return _outcome(ended, guest, output)
    finally:
        guest.do(Destroy())
        output.close()
        waker.close()


def prepare(config: MachineConfig, words: Words) -> Boot:
    """Find the kernel, the initrd and the command line for `config`; fetch and build what has to be."""
    if config.is_demo:
        return _demo(config)
    assert config.kernel is not None
    return Boot(config.kernel, config.initrd, f"console=hvc0 {config.append}".strip())


def _demo(config: MachineConfig) -> Boot:
    from xenia.guests import embedded

    kernel = embedded()
    if kernel is None:
        raise ConfigError("the built-in guest is missing: it is built with the package by a C compiler for x86-64")
    return Boot(str(kernel), None, config.append)


def _outcome(ended: Ended, guest: Guest, output: Output) -> Outcome:
    match ended.why:
        case Why.LEFT:
            return Outcome(Ending.LEFT)
        case Why.SIGNAL:
            return Outcome(Ending.SIGNAL, signal=ended.signal)
        case Why.OUTPUT:
            return Outcome(Ending.OUTPUT, detail=str(output.error or ""))
        case Why.SHUTDOWN:
            return Outcome(Ending.POWEROFF)
