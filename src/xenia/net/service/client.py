"""A network's process, as those see it who use it: start one, or find one that runs, and ask it."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from xenia import interpreter
from xenia.errors import ConfigError
from xenia.net.service.protocol import Wire

PATIENCE = 10.0
"""Seconds for an answer."""


class Silent(ConfigError):
    """The network's process does not answer: it is stopped, too busy, or has ended."""


@dataclass(frozen=True)
class NetworkConfig:
    """What a network's process is started with.

    name        what the network is called
    nat         whether guests reach the host's world through it; else it only joins its ports
    subnet      of its guests, IPv4
    subnet6     the same for IPv6, of 64 bits; "": none
    domain      under which guests know each other by name
    mtu         the largest IP datagram on it, bytes
    libraries   what libslirp needs, in the order of loading: empty, where the host's own is to be taken
    flows       connections to the world that one guest may have at once
    """

    name: str = "user"
    nat: bool = True
    subnet: str = "10.0.2.0/24"
    subnet6: str = "fd00:78:656e::/64"
    domain: str = "xenia.internal"
    mtu: int = 1500
    libraries: tuple[str, ...] = ()
    flows: int = 2048


@dataclass(frozen=True)
class Attached:
    """A card's place in a network: its socket, which is the caller's, and what the network knows of it."""

    descriptor: int
    port: int
    answer: Mapping[str, Any] = field(default_factory=dict)


class _Process(subprocess.Popen[bytes]):
    """A child whose end is waited for by the kernel's word, not by looking now and then: also where the jail lets
    nobody ask for that any more."""

    _end: int | None = None

    def __init__(self, command: list[str], **options: Any) -> None:
        super().__init__(command, **options)
        with suppress(OSError):  # a host that has none
            self._end = os.pidfd_open(self.pid)

    def wait(self, timeout: float | None = None) -> int:
        """As Popen's."""
        if self._end is not None:
            ends = select.poll()
            ends.register(self._end, select.POLLIN)
            if not ends.poll(None if timeout is None else 1000 * timeout):
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            os.close(self._end)
            self._end = None
        return super().wait(timeout)

    def __del__(self, *arguments: Any) -> None:
        if self._end is not None:
            os.close(self._end)
        super().__del__(*arguments)


class NetworkClient:
    """A connection to a network's process.  Any thread may ask.  Every failure is a ConfigError."""

    def __init__(self, connection: socket.socket, process: subprocess.Popen[bytes] | None = None) -> None:
        self.process = process
        self._wire = Wire(connection)
        self._lock = threading.Lock()
        connection.settimeout(PATIENCE)

    def fileno(self) -> int:
        """The connection's descriptor; at its end the process has ended."""
        return self._wire.socket.fileno()

    def ask(self, verb: str, descriptors: Sequence[int] = (), **arguments: object) -> tuple[Any, list[int]]:
        """The answer to a verb of `protocol`, and the files that came with it."""
        with self._lock:
            try:
                self._wire.send({"verb": verb, **arguments}, descriptors)
                received = self._wire.receive()
            except TimeoutError:
                raise Silent(
                    f"the network's process does not answer within {PATIENCE:.0f} s: it is stopped, or too busy"
                ) from None
            except OSError:
                received = None
        if received is None:
            raise Silent("the network's process does not answer: it has ended, or was killed")
        reply, files = received
        if "answer" not in reply:
            raise ConfigError(str(reply.get("error")))
        return reply["answer"], files

    def hello(self) -> Mapping[str, Any]:
        """What the network is; returns once it works."""
        return dict(self.ask("hello")[0])

    def attach(self, name: str, mac: str, **options: Any) -> Attached:
        """A port for a card.  Options are those of the verb."""
        answer, (descriptor,) = self.ask("attach", name=name, mac=mac, **options)
        return Attached(descriptor, answer["port"], answer)

    def join(self, name: str, link: Mapping[str, Any], descriptors: Sequence[int], **options: Any) -> int:
        """Join a link to elsewhere; its port's number.  Options are those of the verb."""
        return int(self.ask("join", descriptors, name=name, link=dict(link), **options)[0]["port"])

    def detach(self, port: int) -> None:
        """Take a port away."""
        self.ask("detach", port=port)

    def show(self) -> dict[str, Any]:
        """All there is to know of it."""
        return dict(self.ask("show")[0])

    def forward(self, port: int, **options: Any) -> Mapping[str, Any]:
        """Have a port of the host lead to a guest.  Options are those of the verb."""
        return dict(self.ask("forward", port=port, **options)[0])

    def unforward(self, port: int, **options: Any) -> None:
        """Take it away."""
        self.ask("unforward", port=port, **options)

    def close(self) -> None:
        """Leave.  Where this is the owner, the process ends, and is waited for."""
        self._wire.close()
        if self.process is not None:
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def start_network(
    config: NetworkConfig, listener: socket.socket | None = None, stay: bool = False, *, silent: bool = False
) -> NetworkClient:
    """Start a network's process, and return at once: `hello` waits until it works.

    It ends with what is returned, unless it is to `stay`.  With a `listener` (a Unix socket that listens) others may
    ask it too; the process takes its path away when it ends.  One that is handed on, and outlives who started it, is to
    be `silent`, and so is one that stays: it keeps nobody's standard error.
    """
    ours, theirs = socket.socketpair()
    files = [theirs.fileno()] + ([listener.fileno()] if listener is not None else [])
    arguments = json.dumps({"config": asdict(config), "files": files, "stay": stay})
    with theirs:
        process = _Process(
            interpreter.command("xenia.net.service", arguments, site=False),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=files,
            stderr=subprocess.DEVNULL if stay or silent else None,
            start_new_session=True,  # a Ctrl-C is not its to take
            env=interpreter.environment(),
        )  # fmt: skip
    return NetworkClient(ours, None if stay else process)


def find_network(path: Path) -> NetworkClient:
    """The process that listens at `path`.  Silent where none does, or it is stopped (SIGSTOP)."""
    connection = _connected(path)
    process = _listener_of(connection)
    if _is_stopped(process):
        connection.close()
        raise Silent(f"the network '{path.name}' does not answer: its process {process} is stopped")
    return NetworkClient(connection)


def kill_network(path: Path) -> None:
    """End the process that listens at `path`, whatever it does, and wait for its end.  ConfigError where none does."""
    with _connected(path) as connection:
        process = _listener_of(connection)
        with ExitStack() as stack:
            try:
                handle = os.pidfd_open(process)
                stack.callback(os.close, handle)
                is_network = __package__.encode() in Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
            except OSError:
                is_network = False
            if not is_network:
                raise ConfigError(f"the process {process}, which listens at {path}, is no network's")
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        try:
            while connection.recv(1):
                pass
        except TimeoutError:
            raise ConfigError(f"the process {process} of the network '{path.name}' does not end") from None
        except OSError:
            pass  # it was never accepted


def _connected(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE)
    try:
        connection.connect(str(path))
    except OSError as error:
        connection.close()
        raise Silent(f"no network at {path}: {error.strerror or error}") from None
    return connection


def _listener_of(connection: socket.socket) -> int:
    """The process that listens at the other end (unix(7), SO_PEERCRED)."""
    process, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(process)


def _is_stopped(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] in "Tt"
    except OSError:
        return False
