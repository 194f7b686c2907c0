"""The daemon: one machine with many domains, which belongs to no command.

Two processes.  This one has the socket at which clients ask, and decides: which domains there are, what becomes of one
that ends, who reads which console.  It opens nothing for a domain, for whoever asks hands over what it needs, open.
The other (`machine_process`) is walled in, and has the machine with all domains in it.  Where this one dies, that one
closes its disks and ends; where that one does, its domains are gone and the next that is created begins a new one.
"""

from __future__ import annotations

import itertools
import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from xenia.errors import ConfigError, HypervisorBug
from xenia.toolstack.config.domain import DomainConfig
from xenia.toolstack.control.build import build
from xenia.toolstack.control.control import ControlServer, Handler, daemon_path
from xenia.toolstack.control.remote import words
from xenia.toolstack.guest.verbs import argument
from xenia.toolstack.isolation.isolated import Remote
from xenia.toolstack.releases import Releases
from xenia.toolstack.service import place
from xenia.toolstack.service.consoles import Consoles
from xenia.toolstack.service.member import Member

_log = logging.getLogger(__name__)

_PROGRAM = "xenia.toolstack.service.machine_process"
_DAEMON = "Domain-0"
_REMEMBERED = 32  # domains that are gone, whose end and console can be asked for

Request = Mapping[str, Any]


class Daemon:
    """From `start` until it is told to stop, or closed."""

    def __init__(self, memory: int) -> None:
        """memory   bytes that its machine has for domains.  ConfigError where the user has one already."""
        self._lock = threading.RLock()
        self._starting = threading.Lock()  # held while the machine's process comes to be; `_lock` may be taken within
        self._held = place.hold()
        self._memory = memory
        self._members: dict[int, Member] = {}
        self._reserved: set[str] = set()
        self._gone: deque[Member] = deque(maxlen=_REMEMBERED)
        self._keys = itertools.count(1)
        self._machine: Remote | None = None
        self._since = time.time()
        self._runs = build()
        self.stopping = threading.Event()
        if (lost := place.left()) is not None:
            _log.warning("%s", lost)
        place.note([])
        self._consoles = Consoles()
        try:
            self._server = ControlServer("daemon", self._verbs(), daemon_path(), self._runs)
        except BaseException:
            self._consoles.close()
            place.forget()
            os.close(self._held)
            raise

    def start(self) -> None:
        """Answer clients."""
        self._server.start()

    def close(self) -> None:
        """End all domains, and the machine."""
        self.stopping.set()
        with Releases() as releases:
            releases.do(self._server.close)
            for member in self._all():
                releases.do(member.end)
            with self._starting:
                if self._machine is not None:
                    releases.do(self._machine.close)
            releases.do(self._consoles.close)
            place.forget()
            os.close(self._held)

    # --- What it is asked

    def _verbs(self) -> dict[str, Handler]:
        def of_a_domain(word: str) -> Handler:
            return lambda request: self._member(request).ask(word, _without_address(request))

        return {
            **{word: of_a_domain(word) for word in words()},
            "domains": lambda _: self._rows(),
            "create": self._create,
            "unpause": lambda request: self._member(request).unpause(),
            "rename": self._rename,
            "await": self._await,
            "destroy": lambda request: self._member(request).end(),
            "console": self._console,
            "window": self._window,
            "logs": self._logs,
            "ending": self._ending_of,
            "configuration": lambda request: self._member(request).config.as_dict(),
            "configure": lambda request: self._member(request).configure(
                DomainConfig.read(argument(request, "config", dict))
            ),
            "about": lambda _: self._about(),
            "stop": self._stop,
        }

    def _rows(self) -> list[dict[str, Any]]:
        """What `xl list` says of each domain."""
        summaries = self._asked("summaries", {})
        return [
            {**summaries[str(member.key)], "name": member.name, "pid": os.getpid(), "uuid": member.config.uuid}
            for member in self._all() if str(member.key) in summaries
        ]  # fmt: skip

    def _about(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(), "since": self._since, "build": self._runs, "domains": len(self._members),
            "memory": self._memory,
            "free_memory": self._asked("free_memory", self._memory),
            "total_memory": self._asked("total_memory", self._memory),
        }  # fmt: skip

    def _asked(self, verb: str, otherwise: Any) -> Any:
        """What the machine answers; `otherwise` where there is none, or none any more."""
        machine = self._machine
        try:
            return otherwise if machine is None else machine.call(verb)
        except HypervisorBug:
            if machine is not None and machine.process.poll() is None:
                raise
            return otherwise

    def _create(self, request: Request) -> dict[str, Any]:
        """A domain that does not run yet, of files that come with the request."""
        config = DomainConfig.read(argument(request, "config", dict))
        build = argument(request, "build", dict)
        files = argument(request, "descriptors", list)
        with self._named(config.name):
            member = self._build(config, build, files)
        self._note()
        _log.info("domain %s (%d) is created", config.name, member.domid)
        return {"name": config.name, "domid": member.domid}

    def _build(self, config: DomainConfig, build: Mapping[str, Any], files: list[int]) -> Member:
        machine = self._running_machine()
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                key = next(self._keys)
                domid = machine.call("build", [theirs.fileno(), *files], key=key, config=config.guest, **build)
        except BaseException:
            ours.close()
            raise
        member = Member(key, domid, config, machine, self._consoles.add(ours), self._forget, self._note)
        with self._lock:
            self._members[key] = member
            lives = self._machine is machine
        try:
            if not lives:
                raise ConfigError("the machine's process has ended, and the domain with it: try again")
            member.schedule()
        except BaseException:
            member.end()
            raise
        return member

    def _rename(self, request: Request) -> None:
        name = argument(request, "to", str)
        member = self._member(request)
        with self._named(name, member):
            member.rename(name)

    @contextmanager
    def _named(self, name: str, member: Member | None = None) -> Iterator[None]:
        """Nobody but this one gets that name meanwhile.  ConfigError where somebody has it."""
        if name == _DAEMON:
            raise ConfigError(f"'{_DAEMON}' is what the daemon itself is called")
        if name.isdecimal():
            raise ConfigError(f"'{name}' is a domain's number: a name has something else in it, too")
        with self._lock:
            if name in self._reserved or any(other.name == name for other in self._all() if other is not member):
                raise ConfigError(f"a domain with name '{name}' already exists")
            self._reserved.add(name)
        try:
            yield
        finally:
            self._reserved.discard(name)

    def _await(self, request: Request) -> bool:
        """Whether the life of that number has ended, in the time that the client waits."""
        try:
            member = self._member(request)
        except ConfigError:
            return True
        return member.await_end(member.domid, argument(request, "timeout", float))

    def _console(self, request: Request) -> None:
        """Attach the socket that comes with the request."""
        member = self._member(request)
        descriptors = argument(request, "descriptors", list)
        if len(descriptors) != 1:
            raise ConfigError("the request comes with no socket to attach")
        try:
            connection = socket.socket(fileno=descriptors[0])
        except OSError:
            raise ConfigError("the request comes with something else than a socket to attach") from None
        descriptors.clear()
        self._consoles.attach(member.console, connection, whole=request.get("whole") is True)

    def _logs(self, request: Request) -> str:
        """The newest of what a domain said on its console, also of one that is gone; each character is a byte."""
        return bytes(self._found(argument(request, "name", str)).console.log).decode("latin-1")

    def _ending_of(self, request: Request) -> dict[str, Any]:
        """How a domain ended for good, or so far, in the time that the client waits; its key is the same however often
        it reboots."""
        member = self._found(argument(request, "name", str), request.get("key"))
        over = member.await_last_end(argument(request, "timeout", float))
        return {"key": member.key, "over": over, "ending": member.ending}

    def _found(self, name: str, key: object = None) -> Member:
        """The domain of that key, name or number, or the last one of those that are gone.  ConfigError where none
        was."""
        with self._lock:
            known = [*self._members.values(), *reversed(self._gone)]
        for member in known:
            if name in (member.name, str(member.domid)) if key is None else member.key == key:
                return member
        raise ConfigError(f"no guest '{name}' runs, or has run lately")

    def _window(self, request: Request) -> None:
        member = self._member(request)
        member.machine.call(
            "window", key=member.key, rows=argument(request, "rows", int), columns=argument(request, "columns", int)
        )

    def _stop(self, request: Request) -> list[str]:
        """End, once this is answered; which domains end with it."""
        names = [member.name for member in self._all()]
        if names and not argument(request, "force", bool):
            raise ConfigError(f"it has domains: {', '.join(names)} (--force destroys them)")
        self.stopping.set()
        return names

    # --- Its domains

    def _all(self) -> list[Member]:
        with self._lock:
            return list(self._members.values())

    def _member(self, request: Request) -> Member:
        domain = request.get("domain")
        if isinstance(domain, str):
            found = [member for member in self._all() if member.name == domain]
        else:
            domain = argument(request, "domain", int)
            found = [member for member in self._all() if member.domid == domain]
        if not found:
            raise ConfigError(f"there is no domain {domain} any more")
        return found[0]

    def _running_machine(self) -> Remote:
        with self._starting:
            if (machine := self._machine) is not None:
                return machine
            if self.stopping.is_set():
                raise ConfigError("the daemon ends")
            machine = Remote(_PROGRAM)
            try:
                machine.call("make", memory=self._memory, scheduler="credit2")
            except BaseException:
                machine.close()
                raise
            self._machine = machine
            threading.Thread(target=self._watch, args=(machine,), name="machine's end", daemon=True).start()
            return machine

    def _watch(self, machine: Remote) -> None:
        """Its process has ended, and its domains with it: the next domain gets another."""
        status = machine.process.wait()
        with self._lock:
            if self.stopping.is_set():
                return
            self._machine = None
        _log.error("the machine's process has ended with status %d, and its domains with it", status)
        for member in self._all():
            if member.machine is machine:
                member.end()
        machine.close()

    def _forget(self, member: Member) -> None:
        with self._lock:
            self._members.pop(member.key, None)
            self._gone.append(member)
        self._consoles.end(member.console)
        _log.info("domain %s (%d) is gone", member.name, member.domid)
        self._note()

    def _note(self) -> None:
        with self._lock:
            place.note([{"name": member.name, "domid": member.domid} for member in self._members.values()])


def _without_address(request: Request) -> dict[str, Any]:
    return {name: value for name, value in request.items() if name not in ("domain", "verb")}
