"""`run`: find what to boot, boot it, connect it with the standard streams, and tell how it ended."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import Path
from typing import Protocol

from xenia.cpu.registry import AUTO, lack
from xenia.errors import ConfigError
from xenia.shutdown import Reason
from xenia.toolstack.attach.command import CommandLine
from xenia.toolstack.attach.session import Ended, Line, PlainLine, Session, Waker, Why
from xenia.toolstack.attach.terminal import Output, Terminal
from xenia.toolstack.config.machine import MachineConfig
from xenia.toolstack.control.control import ControlServer
from xenia.toolstack.control.remote import handlers
from xenia.toolstack.debug.listener import listen as listen_for_debuggers
from xenia.toolstack.debug.server import DebugServer
from xenia.toolstack.guest.build import Build, Rebuild
from xenia.toolstack.guest.guest import Guest
from xenia.toolstack.guest.reboots import Reboots
from xenia.toolstack.guest.verbs import Destroy, Start, Wait
from xenia.toolstack.isolation.jailed import NR_PROCESSORS, Janitor, wall_in
from xenia.toolstack.machine.limits import cgroup_limit, check_limits
from xenia.toolstack.machine.machine import store_place
from xenia.toolstack.networks.cards import Cards
from xenia.toolstack.provision.all_modules import with_all_modules
from xenia.toolstack.provision.boot import Boot, Words, prepare, screen_of
from xenia.toolstack.provision.kernels import held
from xenia.xenstore.server import listen


class Ending(Enum):
    """How a run ended."""

    POWEROFF = auto()
    REBOOT = auto()
    SUSPEND = auto()
    CRASH = auto()  # Xenia crashed the guest for a fault of its own
    PANIC = auto()  # the guest's kernel gave up
    HALTED = auto()  # it stopped its last vcpu without saying why, as Linux does after an early exception
    WATCHDOG = auto()
    COMMAND = auto()  # the command ended, with `status`
    LOST = auto()  # the guest ended before its command did
    LEFT = auto()  # the operator pressed Ctrl-]
    TIMEOUT = auto()  # the time that the operator gave is over
    SIGNAL = auto()  # `signal` ended the run
    OUTPUT = auto()  # standard output takes nothing any more


@dataclass(frozen=True)
class Outcome:
    """How a run ended, with what belongs to that ending."""

    ending: Ending
    status: int = 0
    killed: int = 0  # COMMAND: the signal that ended it, which `status` says too as a shell does
    signal: signal.Signals | None = None
    code: int | None = None  # PANIC: the reason that the guest gave, where it is none of Xen's
    # CRASH: what the guest did; REBOOT: why it is not started again; OUTPUT: what failed, "" if only the reader left
    reason: str = ""
    report: str = ""  # CRASH: registers and stack
    console: bytes = b""  # the newest of what the kernel said, where the operator has not seen it


class RunWords(Words, Protocol):
    """Where news of a run go."""

    def error(self, text: str) -> None:
        """One line about what went wrong."""


_ENDINGS = {
    Reason.POWEROFF: Ending.POWEROFF,
    Reason.REBOOT: Ending.REBOOT,
    Reason.SOFT_RESET: Ending.REBOOT,
    Reason.SUSPEND: Ending.SUSPEND,
    Reason.CRASH: Ending.PANIC,
    Reason.WATCHDOG: Ending.WATCHDOG,
}


# The last words to the hypervisor may then be the only ones that say why.
_BAD = (Ending.PANIC, Ending.HALTED, Ending.WATCHDOG)


def run(config: MachineConfig, words: RunWords, *, verbose: bool = False, violation_status: int = 1) -> Outcome:
    """Boot what `config` asks for, connect it with the standard streams, and tell how it ended.

    Main thread only, for the sake of signals.  `verbose` shows what the kernel says while a command runs.  With
    `config.jail` this process is walled in from then on, for good, and ends with `violation_status` where code of
    somebody else's runs into a wall.
    ConfigError: there is no such kernel, or it cannot boot, or the memory is not there.
    """
    config = with_all_modules(config, words)
    terminal = Terminal(keys=not config.command)
    with ExitStack() as stack:
        networks, boot = _prepare(config, words, terminal, verbose, stack)
        _look_at_host(config, words)
        guest = Guest(config)
        waker = stack.enter_context(closing(Waker()))
        output = stack.enter_context(closing(Output(1, waker.wake)))
        errors = stack.enter_context(closing(Output(2)))
        stack.callback(_destroy, guest, words)
        stack.callback(terminal.restore)
        line: Line = PlainLine(output, guest.resize_window, is_screen=terminal.is_tty)
        if config.command:
            words.busy("booting")
            line = CommandLine(
                output,
                errors,
                waker.wake,
                on_started=lambda: _started(line, words),
                verbose=verbose,
                foreign=lambda: guest.require_domain().foreign,
                stdin=terminal.stdin,
            )
        # Whatever has a name on the host is opened, and whatever is a process of its own started, before the walls
        # close; they close before anything of the guest's is looked at, and before there are threads.
        terminal.guard()
        control = _control(guest, stack)
        debuggers = _debuggers(config, guest, words, stack)
        sockets = control.path.parent if control is not None else None
        nr_processors = NR_PROCESSORS * (config.max_vcpus or config.vcpus)
        walls = (lambda: wall_in(violation_status, sockets, nr_processors, config.engine)) if config.jail else _stay
        guest.do(Build(boot, line.receive, _store(config, stack), walls, networks.finish))
        rebuild, reboots = None, Reboots()
        if config.on_reboot == "restart" or (config.on_reboot is None and terminal.is_tty and not config.command):
            rebuild = Rebuild(boot, line.receive)
        del boot  # an unpacked kernel is tens of megabytes
        if terminal.is_tty:
            words.say("Ctrl-] leaves the console")
        if control is not None:
            control.start()
        _let_in(debuggers, guest, stack)
        session = Session(terminal, guest, line, output, waker, timeout=config.timeout)
        try:
            ended = session.run(lambda: _live(guest, rebuild, reboots, line, words))
        finally:
            output.cancel()
            errors.cancel()
            if isinstance(line, CommandLine):
                line.close()
            _destroy(guest, words)
            session.close()
        return _outcome(ended, guest, line, output, reboots)


def _started(line: Line, words: RunWords) -> None:
    """The command runs.  Say what the agent said before, about a card without an address for example."""
    words.clear()
    assert isinstance(line, CommandLine)
    for word in line.agent_words():
        words.say(f"the guest says: {word}")


def _prepare(
    config: MachineConfig, words: RunWords, terminal: Terminal, verbose: bool, stack: ExitStack
) -> tuple[Cards, Boot]:
    """What to boot, and the networks of its cards: their processes come to be while the kernel is prepared."""
    screen = screen_of(terminal.size()) if terminal.is_tty else None
    cards = () if config.cards is None and config.is_demo else config.cards
    networks = Cards(config.name, cards, words.warn, words.progress)
    stack.callback(networks.close)
    for socket_made in filter(None, (card.socket_made for card in cards or ())):
        stack.enter_context(closing(Janitor(socket_made)))
    boot = prepare(config, words, screen=screen, quiet=bool(config.command) and not verbose)
    if boot.kernel_file is not None:
        stack.enter_context(held(boot.kernel_file))
    if boot.is_demo and config.cards is None:
        networks.close()
    return networks, boot


def _look_at_host(config: MachineConfig, words: RunWords) -> None:
    """Say what is unwise.  ConfigError where the host's limits do not let such a guest run."""
    if os.geteuid() == 0:
        words.say("you are root, which nothing here needs: an ordinary user has less to lose")
    if config.engine == AUTO and (reason := lack()) is not None:
        words.say(f"programs are emulated: {reason}")
    check_limits(config)
    limit = cgroup_limit()
    if limit is not None and limit < config.memory:
        words.warn(f"the cgroup's limit of {limit >> 20} MiB is below the guest's memory: the host may kill this run")


def _stay() -> None:
    """No walls."""


def _control(guest: Guest, stack: ExitStack) -> ControlServer | None:
    with suppress(ConfigError):  # a guest that cannot be asked is a guest all the same
        return stack.enter_context(closing(ControlServer(guest.config.name, handlers(guest))))
    return None


def _store(config: MachineConfig, stack: ExitStack) -> socket.socket | None:
    """In a jail no socket is made, nor taken away."""
    place = store_place(config.xenstore)
    if not config.jail or not isinstance(place, Path):
        return None
    store = listen(place)
    stack.enter_context(closing(Janitor(place)))
    return store


def _debuggers(config: MachineConfig, guest: Guest, words: RunWords, stack: ExitStack) -> DebugServer | None:
    """Where debuggers come in, which begin to be let in once there is a domain."""
    if config.gdb is None:
        return None
    listener = listen_for_debuggers(config.gdb if isinstance(config.gdb, str) else None, config.name)
    if listener.path is not None:
        stack.enter_context(closing(Janitor(listener.path)))
    waits = ", for which the guest waits" if config.gdb_wait else ""
    words.say(f"a debugger comes in by: target remote {listener.place}{waits}")
    return DebugServer(listener.socket, listener.table, lambda: guest.domain)


def _let_in(debuggers: DebugServer | None, guest: Guest, stack: ExitStack) -> None:
    if debuggers is not None:
        stack.callback(debuggers.close)
        debuggers.start(holding=guest.require_domain() if guest.config.gdb_wait else None)


def _destroy(guest: Guest, words: RunWords) -> None:
    """The guest's end: a disk that fails now changes nothing of how the run ended."""
    try:
        guest.do(Destroy())
    except ConfigError as failure:
        words.error(str(failure))


def _live(guest: Guest, rebuild: Rebuild | None, reboots: Reboots, line: Line, words: RunWords) -> None:
    """A guest's life, or lives.  It starts here, where the terminal is ready for its first word."""
    guest.do(Start())
    reboots.started()
    while rebuild is not None and (ended := guest.do(Wait())) is not None and ended.reason is Reason.REBOOT:
        if not reboots.allowed():
            break
        words.say("the guest reboots")
        guest.do(rebuild)
        guest.do(Start())
        reboots.started()
    guest.do(Wait())
    if isinstance(line, CommandLine):
        line.drain()


def _outcome(ended: Ended, guest: Guest, line: Line, output: Output, reboots: Reboots) -> Outcome:
    match ended.why:
        case Why.LEFT:
            return Outcome(Ending.LEFT)
        case Why.TIMEOUT:
            return Outcome(Ending.TIMEOUT)
        case Why.SIGNAL:
            return Outcome(Ending.SIGNAL, signal=ended.signal)
        case Why.OUTPUT:
            return Outcome(Ending.OUTPUT, reason=(output.error.strerror or str(output.error)) if output.error else "")
    if isinstance(line, CommandLine):
        return _command_outcome(guest, line)
    outcome = _shutdown_outcome(guest)
    return replace(outcome, reason=reboots.too_fast) if outcome.ending is Ending.REBOOT else outcome


def _command_outcome(guest: Guest, line: CommandLine) -> Outcome:
    if line.status is not None:
        return Outcome(Ending.COMMAND, status=line.status, killed=line.killed)
    outcome = _shutdown_outcome(guest)
    if outcome.ending is Ending.POWEROFF:
        return Outcome(Ending.LOST)
    return replace(outcome, console=line.console_text() + outcome.console)


def _shutdown_outcome(guest: Guest) -> Outcome:
    domain = guest.require_domain()
    shutdown = domain.shutdown
    assert shutdown is not None
    unshown = domain.console.unshown
    if shutdown.detail:  # whatever reason the guest had announced before
        return Outcome(Ending.CRASH, reason=shutdown.detail, report=domain.crash_report, console=unshown)
    ending = _ENDINGS[shutdown.reason]
    code = shutdown.code if shutdown.code != shutdown.reason else None
    if ending is Ending.POWEROFF and shutdown.halted:
        ending = Ending.HALTED
    if ending is Ending.POWEROFF and domain.command_status is not None:
        return Outcome(Ending.COMMAND, status=domain.command_status)
    return Outcome(ending, code=code, console=unshown if ending in _BAD else b"")
