"""A machine in a process of its own, which is walled in: the seam on which whatever else is isolated can stand.

The program that uses it keeps all its freedom, and opens whatever the machine needs; the other process gets open files
(`channel`), carries out what it is asked (`isolated_process`), and has nothing else of the host.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import subprocess
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xenia import interpreter
from xenia.domain.build.elf import ElfKernel
from xenia.errors import ConfigError, HypervisorBug
from xenia.net.service.client import start_network
from xenia.shutdown import Reason, Shutdown
from xenia.storage.layer import Layer
from xenia.toolstack.config.device import Backing, DeviceConfig
from xenia.toolstack.config.disk import parse_disk
from xenia.toolstack.config.values import either, given, instance, seconds
from xenia.toolstack.control.channel import Channel, opened
from xenia.toolstack.devices.vif import card_config
from xenia.toolstack.isolation.isolated_parts import IsolatedConsole, IsolatedMemory, IsolatedVcpu
from xenia.toolstack.machine.console import sink_of
from xenia.toolstack.machine.domain import Domain
from xenia.toolstack.machine.machine import Machine, store_place
from xenia.toolstack.machine.options import DomainOptions, MachineOptions
from xenia.toolstack.machine.sched import Sched
from xenia.toolstack.machine.site import CARD_OPTIONS
from xenia.toolstack.machine.vcpu import Vcpu
from xenia.toolstack.networks.network import ProcessNetwork, network_config
from xenia.toolstack.networks.opening import attach_port
from xenia.toolstack.releases import Releases
from xenia.xenstore.client import Client
from xenia.xenstore.server import listen

if TYPE_CHECKING:
    from xenia.backends.console.transcript import Transcript
    from xenia.toolstack.machine.frozen import Frozen

_READ = 65536
# What a domain is made of, which is in the other process.
_ELSEWHERE = frozenset({"handle", "pauses", "commands", "sink", "_house", "_keys", "_foreign", "_observers"})
_network = either(str, instance(ProcessNetwork, "words of a network, or one of this machine"))
_log = logging.getLogger(__name__)


class Remote:
    """The process, and what it has not answered yet."""

    def __init__(self, program: str = "xenia.toolstack.isolation.isolated_process") -> None:
        """program   what it runs, a module that takes its end of the channel as its argument"""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                interpreter.command(program, str(theirs.fileno())),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
                start_new_session=True,  # a Ctrl-C is the program's to take
                env=interpreter.environment(),
            )  # fmt: skip
        self._channel = Channel(ours)
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[Any]] = {}
        self._next = 0
        self._gone = False
        self._thread = threading.Thread(target=self._receive, name="isolated machine", daemon=True)
        self._thread.start()

    def call(self, verb: str, descriptors: Sequence[int] = (), **arguments: object) -> Any:
        """What it answers.  ConfigError as there; HypervisorBug where it failed, or has ended."""
        answer: Future[Any] = Future()
        with self._lock:
            self._next += 1
            number = self._next
            self._waiting[number] = answer
            gone = self._gone
        try:
            if gone:
                raise OSError
            self._channel.send({"id": number, "verb": verb, "arguments": arguments}, descriptors)
        except OSError as error:
            with self._lock:
                self._waiting.pop(number, None)
            if error.errno == errno.EMSGSIZE:
                raise ConfigError(f"{verb}: that is too much at once") from None
            raise HypervisorBug(self._ended()) from None
        return answer.result()

    def close(self) -> None:
        """End it, and wait until it has ended."""
        self._channel.close()
        self.process.wait()
        self._thread.join()

    def _receive(self) -> None:
        try:
            while (received := self._channel.receive()) is not None:
                self._hand_out(*received)
        except Exception:
            _log.exception("what the machine's process says makes no sense; it is ended")
            self._channel.close()
        finally:
            with self._lock:
                self._gone = True
                left, self._waiting = list(self._waiting.values()), {}
            why = self._ended() if left else ""
            for answer in left:
                answer.set_exception(HypervisorBug(why))

    def _hand_out(self, reply: dict[str, Any], descriptors: list[int]) -> None:
        for descriptor in descriptors:
            os.close(descriptor)  # there is no answer with any
        with self._lock:
            answer = self._waiting.pop(reply["id"])
        if "answer" in reply:
            answer.set_result(reply["answer"])
        elif "refused" in reply:
            answer.set_exception(ConfigError(reply["refused"]))
        else:
            answer.set_exception(HypervisorBug(f"in the machine's process: {reply.get('fault')}"))

    def _ended(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            return f"the machine's process has ended with status {self.process.wait(5)}"
        return "the machine's process does not answer any more"


class IsolatedMachine(Machine):
    """What `Machine(isolate=True)` makes.  Its domains' disks and consoles are the other process's."""

    def _make(self, options: MachineOptions) -> None:
        if not options.jail:
            raise ConfigError("a machine in a process of its own is there for its jail: isolate=True goes with jail")
        place = store_place(options.xenstore_socket)
        self._socket = listen(place) if isinstance(place, Path) else place
        self._place = place if isinstance(place, Path) else None
        self._created: list[IsolatedDomain] = []
        self._networks: list[ProcessNetwork] = []
        self._remote = Remote()
        try:
            sockets = [self._socket.fileno()] if self._socket is not None else []
            self._remote.call("make", sockets, **options.elsewhere())
        except BaseException:
            self.close()
            raise

    def _create(self, options: DomainOptions) -> IsolatedDomain:
        """As in Machine, of a kernel in a file or in bytes."""
        kernel, initrd, console = options.kernel, options.initrd, options.console
        if isinstance(kernel, ElfKernel):
            raise ConfigError("a machine in a process of its own takes a kernel's file, or its bytes")
        console = os.dup(console) if isinstance(console, int) else console
        sink = sink_of(console)
        with ExitStack() as stack:
            files = [opened(kernel, stack)]
            if initrd is not None:
                files.append(opened(initrd, stack))
            read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
            stack.callback(os.close, write_fd)
            files.append(write_fd)
            reader = threading.Thread(target=_bring, args=(read_fd, sink, console), name="console", daemon=True)
            reader.start()
            domid = self._remote.call(
                "create", files, kernel="kernel" if isinstance(kernel, bytes) else os.fspath(kernel),
                initrd=initrd is not None, console=True, **options.elsewhere(),
            )  # fmt: skip
        domain = IsolatedDomain(self._remote, domid, options, sink, reader)
        self._created = [*(other for other in self._created if not other.destroyed), domain]
        return domain

    def create_network(  # type: ignore[override]
        self,
        name: str = "network",
        *,
        nat: bool = True,
        subnet: str | None = None,
        ipv6: bool = True,
        hosts: Sequence[int] = (),
    ) -> ProcessNetwork:
        """As in Machine; the switch is in the network's own process, which is not this machine's."""
        network = ProcessNetwork(name, start_network(network_config(name, nat, subnet, ipv6)), hosts)
        self._networks.append(network)
        return network

    @property
    def domains(self) -> list[Domain]:
        return [domain for domain in self._created if not domain.destroyed]

    @property
    def dmesg(self) -> list[str]:
        return list(self._remote.call("dmesg"))

    def clear_dmesg(self) -> None:
        self._remote.call("clear_dmesg")

    def _rebuild(self, frozen: Frozen) -> Domain:
        raise ConfigError("a guest of a machine in a process of its own cannot be frozen yet")

    @property
    def free_memory(self) -> int:
        return int(self._remote.call("free_memory"))

    @property
    def total_memory(self) -> int:
        return int(self._remote.call("total_memory"))

    @property
    def resident_memory(self) -> int:
        return int(self._remote.call("resident_memory"))

    @property
    def xenstore(self) -> Client:
        raise ConfigError("the xenstore of a machine in a process of its own is reached at its socket: xenstore_socket")

    def close(self) -> None:
        """End the process, and with it the domains and the store."""
        try:
            with Releases() as releases:
                releases.do(self._remote.close)
                for network in self._networks:
                    releases.do(network.close)
        finally:
            if self._socket is not None:
                self._socket.close()
            if self._place is not None:
                self._place.unlink(missing_ok=True)


class IsolatedDevice:
    """A device of a guest in the other process."""

    def __init__(self, remote: Remote, domid: int, kind: str, name: str) -> None:
        self._remote, self.kind, self.name = remote, kind, name
        self._which: dict[str, Any] = {"domid": domid, "kind": kind, "name": name}
        self.removed = False

    def is_called(self, name: str) -> bool:
        """Whether an operator means it by that."""
        return name == self.name

    @given(timeout=seconds)
    def unplug(self, timeout: float | None = None) -> bool:
        """Ask the guest to let go of it, and take it away once it has; whether it has within `timeout` seconds."""
        self.removed = bool(self._remote.call("unplug", **self._which, timeout=timeout))
        return self.removed

    def remove(self) -> None:
        """Take it away."""
        self._remote.call("remove", **self._which)
        self.removed = True


class IsolatedDomain(Domain):
    """A domain in the other process: what can be asked of it.  What it is made of (`handle`, `disks`) is over there."""

    console: IsolatedConsole  # type: ignore[assignment]
    devices: list[IsolatedDevice]  # type: ignore[assignment]
    vcpus: Sequence[Vcpu]

    def __init__(
        self, remote: Remote, domid: int, options: DomainOptions, sink: Transcript, reader: threading.Thread
    ) -> None:
        self._remote = remote
        self._domid = domid
        self._reader = reader
        self._shutdown: Shutdown | None = None
        self._report = ""
        self._destroyed = False
        self.name = options.name
        self.driver_domain = options.driver_domain
        self.memory = IsolatedMemory(remote, domid, options.memory)
        self.vcpus = [IsolatedVcpu(remote, domid, number) for number in range(options.max_vcpus or options.vcpus)]
        self.nr_vcpus = options.vcpus
        self.console = IsolatedConsole(remote, domid, sink)
        self.devices = []

    def __getattr__(self, name: str) -> Any:
        elsewhere = ConfigError("that cannot be had of a domain that is in a process of its own")
        raise elsewhere if name in _ELSEWHERE else AttributeError(f"a domain has no attribute {name!r}")

    @property
    def domid(self) -> int:
        return self._domid

    def start(self) -> None:
        self._remote.call("start", domid=self._domid)

    @property
    def memory_target(self) -> int:
        return int(self._remote.call("memory", domid=self._domid)[0])

    @property
    def max_memory(self) -> int:
        return int(self._remote.call("memory", domid=self._domid)[1])

    def set_memory(self, size: int) -> None:
        self._remote.call("set_memory", domid=self._domid, size=size)

    def set_max_memory(self, size: int) -> None:
        self._remote.call("set_max_memory", domid=self._domid, size=size)

    def freeze(self, timeout: float = 60.0) -> Frozen:
        raise ConfigError("a guest of a machine in a process of its own cannot be frozen yet")

    @property
    def max_vcpus(self) -> int:
        return int(self.summary["max_vcpus"])

    def set_vcpus(self, vcpus: int) -> None:
        self._live("set_vcpus", vcpus)
        self.nr_vcpus = vcpus

    @property
    def sched(self) -> Sched:
        raise ConfigError("how a guest of a machine in a process of its own is scheduled is in its summary")

    def pause(self) -> None:
        self._live("pause")

    def unpause(self) -> None:
        self._live("unpause")

    def ask(self, key: str, value: str) -> None:
        self._live("ask", key, value)

    def send_nmi(self, vcpu: int = 0) -> None:
        self._live("send_nmi", vcpu)

    def crash(self) -> None:
        self._live("crash")

    def start_command(self, streams: Sequence[str], files: list[int]) -> None:
        self._remote.call("exec", files, domid=self._domid, streams=list(streams))

    def write_core(self, descriptor: int, form: str, *, live: bool = False, crash: bool = False) -> None:
        self._remote.call("dump_core", [descriptor], domid=self._domid, form=form, live=live, crash=crash)

    def rename(self, name: str) -> None:
        self._live("rename", name)
        self.name = name

    def _live(self, what: str, *arguments: object) -> None:
        self._remote.call("life", domid=self._domid, what=what, arguments=list(arguments))

    @property
    def summary(self) -> dict[str, Any]:
        return dict(self._remote.call("summary", domid=self._domid))

    def wait(self, timeout: float | None = None) -> Shutdown | None:
        found = self._remote.call("wait", domid=self._domid, timeout=timeout)
        if found is None:
            return None
        self._reader.join()  # until it has brought everything
        self._report = found.pop("report")
        self._shutdown = Shutdown(**{**found, "reason": Reason(found["reason"])})
        return self._shutdown

    def attach(self, config: DeviceConfig, behind: Backing | None = None) -> Any:
        """Plug a device in.  What it stands on is opened here."""
        if behind is not None:
            raise ConfigError("a machine in a process of its own has the devices opened that it is to have")
        with config.among(lambda: self.statistics).opened() as (config, files):
            return self._hand_over(config, files)

    def _hand_over(self, config: DeviceConfig, files: Sequence[tuple[str, int]]) -> IsolatedDevice:
        name = self._remote.call(
            "attach", [descriptor for _, descriptor in files], domid=self._domid, kind=config.kind,
            config=config.as_dict(), names=[path for path, _ in files],
        )  # fmt: skip
        device = IsolatedDevice(self._remote, self._domid, config.kind, name)
        self.devices = [*(other for other in self.devices if not other.removed), device]
        return device

    @given(network=_network, **CARD_OPTIONS)
    def attach_vif(  # type: ignore[override]
        self,
        network: ProcessNetwork | str = "user",
        *,
        layers: Sequence[str] = (),
        port: Sequence[str] = (),
        **card: Any,
    ) -> Any:
        """See Domain.attach_vif: a network that `create_network` of this machine made, or words.  It is opened here."""
        if isinstance(network, str):
            return self.attach(card_config(network, layers=layers, port=port, **card))
        config = card_config(f"bridge={network.name}", layers=layers, port=port, **card).among(lambda: self.statistics)
        frames = attach_port(network.client, config)
        try:
            return self._hand_over(config, [(config.opened_name, frames)])
        finally:
            os.close(frames)

    def attach_disk(self, layer: Layer | str, **options: Any) -> Any:
        """Plug a disk in, by its words as in `xenia run --disk`.  It is opened here."""
        if isinstance(layer, Layer):
            raise ConfigError("a machine in a process of its own takes a disk by its words: file:data.img,cow")
        return self.attach(replace(parse_disk(layer), **{name: it for name, it in options.items() if it is not None}))

    def destroy(self, *, keep_layers: bool = False) -> bool:
        if keep_layers:
            raise ConfigError("the disks of a machine in a process of its own end with their domain")
        if self._destroyed:
            return False
        self._destroyed = True
        self._remote.call("destroy", domid=self._domid)
        return True

    @property
    def statistics(self) -> dict[str, Any]:
        return dict(self._remote.call("statistics", domid=self._domid))

    @property
    def shutdown(self) -> Shutdown | None:
        if self._shutdown is None:
            self.wait(0)
        return self._shutdown

    @property
    def dmesg(self) -> list[str]:
        return list(self._remote.call("dmesg"))

    @property
    def crash_report(self) -> str:
        return self._report


Machine.isolated = IsolatedMachine


def _bring(descriptor: int, sink: Transcript, console: object) -> None:
    """Bring what comes to where it goes, until there is nothing more; the console, where it is a file, is ours."""
    with open(descriptor, "rb", buffering=0) as pipe, ExitStack() as ended:
        if isinstance(console, int):
            ended.callback(os.close, console)
        ended.callback(sink.end)
        while data := pipe.read(_READ):
            with suppress(OSError):  # nobody reads that any more
                while data := data[sink.write(data) :]:
                    select.select([], [room] if (room := sink.fileno()) is not None else [], [])
