"""A domain: one guest, with its console, its devices and its part of xenstore."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from xenia.backends.console.persist import ConsoleState
from xenia.backends.console.transcript import Pattern, Transcript
from xenia.errors import ConfigError
from xenia.hypervisor import life
from xenia.hypervisor.domain import DomainHandle
from xenia.machine.thread import HostThread
from xenia.shutdown import Reason, Shutdown
from xenia.toolstack.config import values
from xenia.toolstack.config.core import CoreFormat, open_core
from xenia.toolstack.config.values import given
from xenia.toolstack.devices.device import Device
from xenia.toolstack.devices.kinds import listed
from xenia.toolstack.machine.balloon import Ballooned
from xenia.toolstack.machine.commands import Commands, RunsCommands
from xenia.toolstack.machine.console import DomainConsole, console_of
from xenia.toolstack.machine.core import dump
from xenia.toolstack.machine.guest_memory import GuestMemory
from xenia.toolstack.machine.house import House
from xenia.toolstack.machine.observers import Observed, Observers
from xenia.toolstack.machine.pauses import Pauses
from xenia.toolstack.machine.sched import Sched
from xenia.toolstack.machine.store_layout import (
    COMMAND_STATUS,
    home,
    remove_home,
    write_backend_home,
    write_home,
    write_vcpus,
    write_window_size,
)
from xenia.toolstack.machine.summary import summary_of
from xenia.toolstack.machine.vcpu import Vcpu
from xenia.toolstack.releases import Releases
from xenia.xenstore.client import Client
from xenia.xenstore.error import StoreError

if TYPE_CHECKING:  # loaded by who freezes a guest or lets it go on
    from xenia.toolstack.machine.frozen import Frozen

T = TypeVar("T")

_ASKED_AGAIN: Final = 0.1  # seconds

FORM: Final = values.one_of(form.value for form in CoreFormat)
WINDOW: Final = values.whole(0, 0xFFFF)


class Domain(Ballooned, RunsCommands, Observed):
    """One guest, made by `Machine.create_domain`.

    name, driver_domain    as it was created
    memory          what is in its memory, by virtual and by pseudo-physical address; `size` as it was created, in bytes
    vcpus           each of them, with its registers
    pauses          who wants it to stand still
    nr_vcpus        how many of them it is asked to use (`set_vcpus`)
    console         `send`, `sendline` and `offer` give it input; `expect` waits for what it says, `text` is that
    commands, devices   what runs in it; what was plugged in, those since removed included
    sink            where the console's output goes
    afterwards      is called once it is destroyed
    command_status  with what the command ended that had the console for itself, or was a container image's: known once
                    the guest has ended; None where there was none
    suspends_late   whether it said that it suspends itself, and nobody waits for that any more: it goes on then
    reconnecting    devices that its frontends were connected to before it was frozen
    handle          the compiled domain below it: registers, audit; changes without notice
    """

    def __init__(
        self,
        house: House,
        handle: DomainHandle,
        sink: Transcript,
        name: str,
        memory: int,
        driver_domain: bool = False,
        console_state: ConsoleState | None = None,
    ) -> None:
        super().__init__(house, handle, name, driver_domain)
        self.pauses = Pauses(handle)
        self.memory = GuestMemory(handle, self.pauses, memory)
        self.vcpus: Sequence[Vcpu] = [Vcpu(handle, self.pauses, number) for number in range(handle.max_vcpus)]
        self.nr_vcpus = handle.max_vcpus
        self.sink = sink
        self.console = self._console(console_state)
        self.afterwards: Callable[[], object] = lambda: None
        self._observers = Observers(handle)
        self._settling = threading.Lock()
        self._settled = False
        self._life = threading.Lock()  # whether it is destroyed: it does not start then
        self._destroyed = False
        self._started = False
        self._created = time.monotonic()
        self.commands = Commands(self.foreign, self._keys, lambda: sink.text)
        self._freezing = threading.RLock()  # held while it is asked to suspend itself, until it is gone or goes on
        self._lives = 0  # how often it went on where it had suspended itself
        self.command_status: int | None = None
        self.suspends_late = False
        self.reconnecting: list[Device] = []

    def _console(self, state: ConsoleState | None) -> DomainConsole:
        handle, log = self.handle, self._house.log
        return console_of(handle, self.foreign, self.sink, lambda data: log.said(handle.domid, data), state)

    @property
    def destroyed(self) -> bool:
        """Whether `destroy` was called."""
        return self._destroyed

    @property
    def runs(self) -> bool:
        """Whether it has not ended, nor was destroyed."""
        return self.shutdown is None and not self._destroyed

    def start(self) -> None:
        """Let the guest run, on a host thread of its own.  Once only; ConfigError when it was destroyed."""
        with self._life:
            if self._destroyed:
                raise ConfigError(f"cannot start guest '{self.name}': it is destroyed")
            self.console.start()
            self.handle.start(self._ended)
            self._started = True

    def introduce(self, max_memory: int | None = None) -> None:
        """Write what a toolstack writes into xenstore for a PV domain, and serve its store page."""
        with self._keys.transaction() as keys:
            size = self.memory.size
            write_home(keys, self.name, size, max(size, max_memory or 0), self.nr_vcpus, self.handle)
            if self.driver_domain:
                write_backend_home(keys, self.domid)
        self._house.store.attach(self.foreign)

    @property
    def max_vcpus(self) -> int:
        """How many vcpus it has, those that it is asked not to use included."""
        return self.handle.max_vcpus

    @given(vcpus=values.NUMBER)
    def set_vcpus(self, vcpus: int) -> None:
        """Ask the guest to use so many vcpus, as `xl vcpu-set` does: it brings others up, or takes them down, soon.

        ConfigError where it has fewer.
        """
        if not 1 <= vcpus <= self.max_vcpus:
            raise ConfigError(f"guest '{self.name}' can have 1 to {self.max_vcpus} vcpus, not {vcpus}")
        self._keys.atomically(lambda keys: write_vcpus(keys, self.domid, vcpus, self.max_vcpus))
        self.nr_vcpus = vcpus

    def pause(self) -> None:
        """Let the guest not go on, until `unpause`.  Its time does."""
        self.pauses.pause()

    def unpause(self) -> None:
        """Let it go on."""
        self.pauses.unpause()

    @given(key=values.text, value=values.text)
    def ask(self, key: str, value: str) -> None:
        """Ask the guest for something, by a key of its control directory: to shut down, for example."""
        self._keys.write(f"{home(self.domid)}/control/{key}", value)

    @given(vcpu=values.NUMBER)
    def send_nmi(self, vcpu: int = 0) -> None:
        """Send a vcpu the interrupt that cannot be masked.  ConfigError where there is none of that number."""
        if not 0 <= vcpu < self.handle.max_vcpus:
            raise ConfigError(f"it has no vcpu {vcpu}")
        life.send_nmi(self.handle, vcpu)

    def crash(self) -> None:
        """End the guest as one that is crashed for a fault."""
        life.crash(self.handle, "it was asked to (dump-core)")

    @given(path=values.file, form=FORM, live=values.truth)
    def dump_core(self, path: str | os.PathLike[str], *, form: str = "xen", live: bool = False) -> None:
        """Write the guest's memory and registers into a file, for crash, drgn or volatility; it stands still meanwhile.

        form    "xen": as Xen's tools do; "elf": a vmcore by pseudo-physical addresses.  See docs/dump-core.md
        live    it goes on meanwhile, so that its pages are from different moments

        ConfigError where the file cannot be written, or the domain is destroyed; what was called so is there still.
        """
        with open_core(path) as descriptor:
            self.write_core(descriptor, form, live=live)

    def write_core(self, descriptor: int, form: str, *, live: bool = False, crash: bool = False) -> None:
        """The same, into a file that is open to be written; with `crash` it is crashed afterwards."""
        with self.pauses.held() if crash and not live else nullcontext():
            dump(self.handle, descriptor, CoreFormat(form), self.pauses.held, live=live)
            if crash:
                self.crash()

    def start_command(self, streams: Sequence[str], files: list[int]) -> None:
        """See Commands.start."""
        self.commands.start(streams, files)

    @given(name=values.guest_name)
    def rename(self, name: str) -> None:
        """Give it another name."""
        self.name = name
        self._keys.write(f"{home(self.domid)}/name", name)

    @given(rows=WINDOW, columns=WINDOW)
    def set_window_size(self, rows: int, columns: int) -> None:
        """Tell the guest how large the window is that shows its console, where Xenia's agent looks for it."""
        write_window_size(self._keys, self.domid, rows, columns)

    @given(timeout=values.seconds)
    def wait(self, timeout: float | None = None) -> Shutdown | None:
        """Wait until the guest has ended and its console has brought everything; how it ended.

        None when that takes longer than `timeout` seconds, or when the domain is destroyed meanwhile.  A fault of
        Xenia's own that ended it is raised here.
        """
        while True:
            lives = self._lives
            shutdown = self.handle.wait(timeout)
            if shutdown is None and lives != self._lives:
                continue  # it went on before we looked
            if shutdown is None:
                return None
            if shutdown.reason is not Reason.SUSPEND or shutdown.halted:
                break
            self._resume_late()
            with self._freezing:  # somebody may do so just now
                if self._destroyed:
                    return None
                if self.handle.shutdown is not None:
                    break
        self._settle()
        return shutdown

    @given(what=values.awaited, timeout=values.seconds)
    def wait_for(self, what: Pattern | Callable[[], T], timeout: float | None = 60.0) -> Any:
        """Wait until the guest has said something on its console, now or before: a regular expression, and the match is
        answered.  Or until a function answers what is true, which is answered; it is called again each time the guest
        has said more, and ten times a second.

        TimeoutError after so many seconds (None: never), EOFError where the guest ends before.  Both tell the last that
        it said.
        """
        if not callable(what):
            return self.console.transcript.search(what, timeout)
        name = getattr(what, "__name__", repr(what))
        return self.console.transcript.wait(what, timeout, f"answer of {name} that is true", _ASKED_AGAIN)

    @given(timeout=values.patience)
    def freeze(self, timeout: float = 60.0) -> Frozen:
        """Let the guest suspend itself, and tear it down to a value that `Machine.rebuild` lets it go on from: in any
        machine that has the memory, under another number.  What its disks stand on stays open meanwhile.  That value is
        for this process only: it is no file format yet.

        ConfigError, and the guest goes on unharmed, where it does not suspend itself within so many seconds, or in a
        way that cannot be saved.
        """
        from xenia.toolstack.machine.frozen import freeze

        with self._freezing:
            return freeze(self, timeout)

    @property
    def xenstore(self) -> Client:
        """The domain's client of the machine's xenstore, with the rights of domain 0."""
        return self._keys

    def pause_console(self) -> ConsoleState:
        """Let go of the console of a guest that suspended itself."""
        self.handle.stop()
        return self.console.suspend()

    def resume(self, console: ConsoleState | None = None) -> None:
        """Let a guest that suspended itself go on where it is.

        console   with the state of the console that was paused; None: it goes on
        """
        from xenia.hypervisor.persist import resume

        if console is not None:
            self.console = self._console(console)
            self.console.start()
        self._house.store.resume(self.domid)
        self._lives += 1
        resume(self.handle)

    def expect_late_suspend(self) -> None:
        """The guest has said that it suspends itself, and nobody waits for that any more: let it go on once it has."""
        self.suspends_late = True
        HostThread(self._wait_late, f"d{self.domid} resumes").start()

    def _wait_late(self) -> None:
        self.handle.wait()
        self._resume_late()

    def _resume_late(self) -> None:
        with self._freezing:
            shutdown = self.handle.shutdown
            if self.suspends_late and not self._destroyed and shutdown is not None:
                self.suspends_late = False
                if shutdown.reason is not Reason.SUSPEND or shutdown.halted:
                    self._ended()
                    return
                self.resume()

    def destroy(self, *, keep_layers: bool = False) -> bool:
        """Stop the guest where it stands and give its memory back.  Destroying it again does nothing.  Answers whether
        it did.

        keep_layers   leave open what the devices stand on, the disks' layers: it is the caller's from now on

        ConfigError, with everything given back, where a disk did not close cleanly.
        """
        with self._life:
            if self._destroyed:
                return False
            self._destroyed = True
        with Releases() as releases:
            releases.do(self.handle.stop)  # so that nobody waits for it to suspend itself
            with self._freezing:
                releases.do(self.handle.stop)
                releases.do(self._settle, 0)
                releases.do(self.commands.close)
                releases.do(self._observers.close)
                for device in self.devices:
                    releases.do(device.remove, keep=keep_layers)
                releases.do(self._leave_store)
                releases.do(self.handle.destroy)
                for given in self._serves:
                    releases.do(given.abandon)
                self._house.let_go(self)
                self._keys.close()
                releases.do(self.afterwards)
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.destroy()

    def _leave_store(self) -> None:
        try:
            self._keys.atomically(lambda keys: remove_home(keys, self.domid))
        finally:
            with suppress(StoreError):  # where a client of the store has released it already
                self._house.store.detach(self.domid)

    @property
    def sched(self) -> Sched:
        """How it is scheduled: weight, cap, where its vcpus may run, and what each of them is doing."""
        return Sched(self.handle)

    @property
    def statistics(self) -> dict[str, Any]:
        """What the domain has done since it was created, as plain data: counters of the hypervisor's (hypercalls by
        name, exceptions by number), and a list for each kind of devices: of each disk its counters (VbdStats) and
        those of each layer of its storage."""
        return {
            "name": self.name,
            "domid": self.domid,
            "memory": self.memory.size,
            "vcpus": self.nr_vcpus,
            "engine": self.handle.engine,
            "memory_target": self.memory_target,
            "max_memory": self.max_memory,
            "seconds": self.handle.system_time / 1e9,
            **self.handle.statistics,
            **listed(self.devices),
        }

    @property
    def summary(self) -> dict[str, Any]:
        """What `xl list`, `vcpu-list` and `top` say of a domain, as plain data: memory in bytes, times in seconds, and
        of a domain that has ended the reason (SHUTDOWN_*)."""
        return summary_of(self, goes_on=self._started and self.runs and not self.handle.paused, created=self._created)

    @property
    def shutdown(self) -> Shutdown | None:
        """How the guest ended, None while it has not."""
        return self.handle.shutdown

    @property
    def dmesg(self) -> list[str]:
        """The log of its machine's hypervisor: see Machine.dmesg."""
        return self._house.log.lines

    @property
    def crash_report(self) -> str:
        """Registers, code and stack of a guest that was crashed, as lines of text."""
        return "\n".join(self.handle.crash_report)

    def _ended(self) -> None:
        """The vcpu stopped for good.  On its thread."""
        if self.shutdown is not None and not self.suspends_late:
            self._house.store.shutdown(self.domid)
            if self.shutdown.reason is not Reason.SUSPEND or self.shutdown.halted:
                self.commands.lose("the guest ended before the command did")
                self.sink.stop(self._settle)

    def _settle(self, timeout: float | None = None) -> None:
        """Bring what is left of the console's output out, and end the threads.  The vcpu does not run any more."""
        with self._settling:
            if not self._settled:
                self._settled = True
                said = self._keys.get(f"{home(self.domid)}/{COMMAND_STATUS}") or ""
                self.command_status = int(said) & 0xFF if said.isdecimal() and len(said) <= 3 else None
                self.console.close(timeout)
                self.sink.end()
                self._house.log.ended(self.domid, self.shutdown, self.handle.crash_report)
