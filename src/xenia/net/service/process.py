"""The process of a network: who asks it, what it may, and when it ends.

It ends with its last owner, whatever became of that: an owner is a connection, and closes when its process dies.  All
that it needs by name it has before the walls close (docs/security.md); from then on it makes sockets for its guests,
and opens nothing but the host's resolv.conf.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from xenia.errors import ConfigError
from xenia.jail import jail, kinds
from xenia.jail.landlock import Right
from xenia.net.nat.dns import RESOLV_CONF
from xenia.net.service.client import NetworkConfig
from xenia.net.service.network import Network
from xenia.net.service.protocol import Wire
from xenia.net.service.watch import Watch

VIOLATION_STATUS = 118
DESCRIPTORS = 16384
"""How many the process may have, where the host lets it: each connection of a guest's is one."""

_ASKING = 4096  # who waits to be answered; those who gave up are among them as long as the process stands still


class Process:
    """Who is connected, and the network, or why there is none."""

    def __init__(self, config: NetworkConfig, owner: socket.socket, listener: socket.socket | None, stay: bool) -> None:
        self._listener = listener
        self._stay = stay
        self._watch = Watch()
        self._wires: dict[int, Wire] = {}
        self._owners: set[int] = set()
        self._silent: set[int] = set()
        self._network: Network | None = None
        self._refusal = ""
        self._events = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._gone: list[int] = []
        descriptors = _raise_limit()
        if listener is not None:
            listener.listen(_ASKING)  # and the kernel tells who asks that it is this process, not who made the socket
        try:
            self._network = Network(config, self._watch, descriptors, in_order=not stay)
            self._network.gone = self._lost
        except ConfigError as error:
            self._refusal = str(error)
        jail.enter(self._paths(), VIOLATION_STATUS, kinds.network(), descriptors, connects=True)
        self._watch.add(self._events, self._clear)
        self._connect(owner)
        self._owners.add(owner.fileno())
        if listener is not None:
            listener.setblocking(False)
            self._watch.add(listener.fileno(), self._accept)

    def run(self) -> None:
        """Serve until it is to end."""
        try:
            if self._network is not None:
                self._network.start()
            self._watch.run()
        finally:
            if self._listener is not None:
                with suppress(OSError):
                    os.unlink(self._listener.getsockname())
            if self._network is not None:
                self._network.close()

    def _paths(self) -> dict[Path, Right]:
        names = RESOLV_CONF.resolve()  # which is not changed, but replaced
        replaced = names.is_relative_to("/run") and names.parent != Path("/run")
        paths = {names.parent if replaced else names: Right.READ_FILE}
        if self._listener is not None:
            paths[Path(self._listener.getsockname()).parent] = Right.REMOVE_FILE
        return paths

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        self._connect(connection)

    def _connect(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._wires[connection.fileno()] = Wire(connection)
        self._watch.add(connection.fileno(), lambda: self._serve(connection.fileno()))

    def _serve(self, descriptor: int) -> None:
        """What one connection asks now."""
        wire = self._wires[descriptor]
        while True:
            try:
                received = wire.receive()
            except BlockingIOError:
                return
            if received is None:
                self._leave(descriptor)
                return
            request, files = received
            made: list[int] = []
            reply = self._reply(descriptor, request, files, made)
            try:
                wire.send(reply, made)
            except OSError:
                self._leave(descriptor)
                return
            finally:
                for file in made + files:
                    os.close(file)
            if request.get("verb") == "stop" and "answer" in reply:
                self._watch.stop()
                return

    def _reply(self, descriptor: int, request: dict[str, Any], files: list[int], made: list[int]) -> dict[str, Any]:
        """The answer to one line, whatever it holds.  Files that are kept are taken out of `files`."""
        verb = request.pop("verb", None) if isinstance(request.get("verb"), str) else None
        request["verb"] = verb
        arguments = {name: value for name, value in request.items() if name != "verb"}
        if descriptor in self._silent:
            return {"error": "this connection asks nothing any more"}
        if verb == "stop":
            return {"answer": None}
        if verb == "hush":
            self._silent.add(descriptor)
            return {"answer": None}
        if verb == "own":
            self._owners.add(descriptor)
            return {"answer": None}
        if self._network is None:
            return {"error": self._refusal}
        call = self._network.verbs.get(verb or "")
        if call is None:
            return {"error": f"there is no verb '{verb}'; there are {', '.join(self._network.verbs)}, own, hush, stop"}
        try:
            return {"answer": call(made if verb == "attach" else files, **arguments)}
        except ConfigError as error:
            return {"error": str(error)}
        except (TypeError, ValueError, AttributeError, OverflowError) as error:  # arguments of other names or kinds
            return {"error": f"'{verb}' cannot be done with these arguments: {error}"}

    def _leave(self, descriptor: int) -> None:
        self._watch.remove(descriptor)
        self._wires.pop(descriptor).close()
        owned = descriptor in self._owners
        self._owners.discard(descriptor)
        self._silent.discard(descriptor)
        if owned and not self._owners and not self._stay:
            self._watch.stop()

    def _lost(self, port: int) -> None:
        """A port's other end was closed: on the loop's thread."""
        self._gone.append(port)
        os.eventfd_write(self._events, 1)

    def _clear(self) -> None:
        os.eventfd_read(self._events)
        while self._gone:
            if self._network is not None:
                with suppress(ConfigError):
                    self._network.detach([], self._gone.pop())


def _raise_limit() -> int:
    """As many descriptors as there may be; how many those are."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    descriptors = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
    return descriptors


def main(argument: str) -> None:
    """Serve what `argument` says."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings = json.loads(argument)
    settings["config"]["libraries"] = tuple(settings["config"]["libraries"])
    files = [socket.socket(fileno=descriptor) for descriptor in settings["files"]]
    for file in files:
        file.set_inheritable(False)
    listener = files[1] if len(files) > 1 else None
    Process(NetworkConfig(**settings["config"]), files[0], listener, settings["stay"]).run()
