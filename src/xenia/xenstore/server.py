"""The store at work: one thread that serves domains' rings and the clients of a unix socket.

The thread sleeps in a selector.  A domain's eventfd wakes it when the domain notifies; it is emptied only after the
work it announced is done, so as long as it is readable an answer is still to come.  Whoever touches the store holds
the lock, which is never held while waiting; so clients in this process act on their own thread, and wake the server's
for the events of others.  They have the lock between any two connections that the server's thread services, however
busy it is.  A domain that takes more than its share of that thread's time is left alone for a while.
"""

from __future__ import annotations

import errno
import logging
import os
import selectors
import socket
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from time import monotonic, thread_time_ns
from typing import Final

from xenia.abi.xs_wire import XsdError
from xenia.errors import ConfigError
from xenia.foreign.fault import FrontendFault
from xenia.foreign.foreign import Foreign, Service
from xenia.machine.lock import HostLock
from xenia.machine.thread import HostThread
from xenia.xenstore.client import Client
from xenia.xenstore.connection import Connection
from xenia.xenstore.error import StoreError
from xenia.xenstore.persist import GuestClientState, ServerState
from xenia.xenstore.reply import reply
from xenia.xenstore.store import DomainControl, Store
from xenia.xenstore.transport import GuestTransport, LocalTransport, SocketTransport, Transport
from xenia.xenstore.wire import Packet

_log = logging.getLogger(__name__)

_OUT_OF_DESCRIPTORS: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

# Seconds between two complaints that are not for debugging.
_QUIET: Final = 10.0

# Finds what an INTRODUCE request of a client names: domid, mfn, port.  None where there is no such domain, page or
# port.
FindGuest = Callable[[int, int, int], Foreign | None]


def socket_path(environment: Mapping[str, str], run_directory: Path) -> Path:
    """Where the store's socket is: XENSTORED_PATH, or `socket` in XENSTORED_RUNDIR, as every client of the store has
    it; else `socket` in `run_directory`."""
    if path := environment.get("XENSTORED_PATH"):
        return Path(path)
    return Path(environment.get("XENSTORED_RUNDIR") or run_directory) / "socket"


class Server(DomainControl):
    """Serves one store."""

    def __init__(
        self, store: Store, at: Path | socket.socket | None = None, find_guest: FindGuest | None = None
    ) -> None:
        """Clients connect to a unix socket at the path `at`, or to one that listens already; to none for None.

        ConfigError as in `listen`.
        """
        self.store = store
        store.control = self
        self._find_guest = find_guest
        with ExitStack() as held:
            self._listener = listen(at) if isinstance(at, Path) else at
            if self._listener is not None:
                held.callback(_remove, self._listener)
            self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            held.callback(os.close, self._wake_fd)
            self._selector = held.enter_context(selectors.DefaultSelector())
            self._held = held.pop_all()
        self._lock = HostLock("store")
        self._thread = HostThread(self._run, "xenstore")
        # --- The lock guards these, and the store.
        self._closing = False
        self._failure: BaseException | None = None
        self._transports: dict[Connection, Transport] = {}
        self._clients: dict[LocalTransport, Client] = {}
        # To be serviced without waiting; dicts for their order.
        self._busy: dict[Transport, None] = {}
        # Not to be serviced before that moment of time.monotonic.
        self._resting: dict[Transport, float] = {}
        # Said once the lock is dropped: who reads it may read slowly.
        self._complaints: list[tuple[int, str]] = []
        self._quiet_until = 0.0
        # Gone, but the selector does not know yet.
        self._departed: dict[Transport, int] = {}
        # --- The server's thread alone touches these: what the selector waits for, and its time when it last served.
        self._waits: dict[Transport, int] = {}
        self._ran = 0

    # --- For the toolstack, on any thread

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop serving, drop all clients, remove the socket.  Again does nothing.

        A bug that ended the server's thread is raised here.
        """
        with self._lock:
            closed, self._closing = self._closing, True
        if closed:
            return
        self._wake()
        self._thread.end()
        with self._held as held:
            for transport in list(self._transports.values()):
                held.callback(self._drop, transport)
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def attach(self, foreign: Foreign, state: GuestClientState | None = None) -> None:
        """Serve a domain: INTRODUCE from within.  With a `state`, one that the store knows goes on where it was.

        Precondition: it is not served.  Raises FrontendFault where it has no xenstore page and channel for us.
        """
        with self._lock:
            self._attach(foreign, state)
        self._wake()

    def detach(self, domid: int) -> None:
        """A domain is destroyed: forget what is its own.  Its page and channel are not touched once this returns.

        Raises StoreError(ENOENT) if it was not attached.
        """
        with self._lock:
            self.release(domid)
        self._wake()

    def shutdown(self, domid: int) -> None:
        """A domain shut down or crashed: those who watch @releaseDomain hear of it."""
        with self._lock:
            self.store.shutdown(domid)
        self._wake()

    def resume(self, domid: int) -> None:
        """A domain that had shut down runs again."""
        with self._lock:
            self.store.resume(domid)

    def save(self) -> ServerState:
        """The store, and each domain that is served.  Precondition: none of them runs."""
        with self._lock:
            served = {domid: self._transports[known.connection] for domid, known in self.store.domains.items()}
            clients = {domid: one.save() for domid, one in served.items() if isinstance(one, GuestTransport)}
            return ServerState(self.store.save(), clients)

    def client(self) -> Client:
        """A new client in this process, with the rights of domain 0.  It ends with the server, or when it is closed."""
        transport = LocalTransport(self.store)

        def request(packet: Packet) -> Packet:
            with self._lock:
                answer = reply(self.store, transport.connection, packet)
                others_to_tell = bool(self.store.ready)
            if others_to_tell:
                self._wake()
            return answer

        def end() -> None:
            with self._lock:
                if self._clients.pop(transport, None) is not None and transport.connection in self._transports:
                    self._drop(transport)

        client = Client(request, end)
        with self._lock:
            self._transports[transport.connection] = transport
            self._clients[transport] = client
        return client

    # --- For requests of clients: the lock is held

    def introduce(self, domid: int, mfn: int, port: int) -> None:
        foreign = self._find_guest(domid, mfn, port) if self._find_guest is not None else None
        if foreign is None:
            raise StoreError(XsdError.EINVAL)
        known = self.store.domains.get(domid)
        if known is None:
            try:
                self._attach(foreign)
            except FrontendFault as fault:  # it closed its channel
                raise StoreError(XsdError.EINVAL) from fault
            return
        transport = self._transports[known.connection]
        assert isinstance(transport, GuestTransport)
        transport.restart()
        self._busy[transport] = None

    def release(self, domid: int) -> None:
        known = self.store.domains.get(domid)
        self.store.release(domid)
        if known is not None:
            self._drop(self._transports[known.connection])

    def _attach(self, foreign: Foreign, state: GuestClientState | None = None) -> None:
        interface = foreign.interface(Service.STORE)
        domid = foreign.domid
        connection = self.store.introduce(domid) if state is None else self.store.domains[domid].connection
        transport = GuestTransport(self.store, connection, foreign, interface, self._complain, state)
        self._transports[connection] = transport
        self._busy[transport] = None

    def _drop(self, transport: Transport) -> None:
        """End a connection, from whatever side.  The lock is held, or the thread gone."""
        del self._transports[transport.connection]
        self._busy.pop(transport, None)
        self._resting.pop(transport, None)
        self.store.disconnect(transport.connection)
        self._departed[transport] = transport.fileno()
        transport.close()

    # --- The server's thread

    def _wake(self) -> None:
        os.eventfd_write(self._wake_fd, 1)

    def _run(self) -> None:
        self._ran = thread_time_ns()
        self._selector.register(self._wake_fd, selectors.EVENT_READ)
        if self._listener is not None:
            self._selector.register(self._listener, selectors.EVENT_READ)
        try:
            while self._turn():
                pass
        except BaseException as failure:
            _log.exception("the xenstore server ended")
            self._failure = failure

    def _turn(self) -> bool:
        """Wait for something to do and do it; answers whether to go on."""
        events = self._selector.select(self._patience())
        with self._lock:
            if self._closing:
                return False
            for key, _ in events:
                if isinstance(key.data, Transport):
                    # One that departed meanwhile is not served, whoever has its descriptor now.
                    if key.data not in self._departed:
                        self._busy[key.data] = None
                elif key.fileobj is self._listener:
                    self._accept()
                else:
                    os.eventfd_read(self._wake_fd)
            self._wake_rested()
            self._forget_departed()  # first, for a descriptor of theirs may be somebody else's by now
            self._serve()
            self._forget_departed()
            deliveries = [(client, event) for transport, client in self._clients.items() for event in transport.take()]
            complaints, self._complaints = self._complaints, []
        for level, complaint in complaints:
            _log.log(level, "%s", complaint)
        for client, (path, token) in deliveries:
            client.deliver(path, token)
        return True

    def _complain(self, level: int, complaint: str) -> None:
        # Domains come and go, and each may give cause: aloud only now and then.
        if level > logging.DEBUG and monotonic() < self._quiet_until:
            level = logging.DEBUG
        elif level > logging.DEBUG:
            self._quiet_until = monotonic() + _QUIET
        self._complaints.append((level, complaint))

    def _patience(self) -> float | None:
        """How long there is nothing to do but what the selector tells; None: for good."""
        if self._busy:
            return 0
        with self._lock:
            return max(0.0, min(self._resting.values()) - monotonic()) if self._resting else None

    def _wake_rested(self) -> None:
        now = monotonic()
        for transport in [transport for transport, until in self._resting.items() if until <= now]:
            del self._resting[transport]
            self._busy[transport] = None

    def _serve(self) -> None:
        """Service each that is busy, once; those that still are afterwards, or have events now, are busy next."""
        turn = self._busy
        self._busy = {}
        self._find_told(turn)
        for transport in turn:
            self._lock.give_way()
            if transport in self._departed or transport in self._resting:
                continue
            if self._service(transport):
                self._busy[transport] = None
            if transport.ended:
                self._drop(transport)
                self._resume_accepting()
            else:
                self._wait_for(transport, 0 if transport in self._resting else transport.interest)
            self.store.ready.pop(transport.connection, None)
        self._find_told(self._busy)

    def _service(self, transport: Transport) -> bool:
        """Whether there may be more to do for it at once.  Who took more than its share rests."""
        share = transport.share
        before = thread_time_ns()
        more = transport.service()
        ran, self._ran = self._ran, thread_time_ns()
        if share is None:
            return more
        now = monotonic()
        share.spend((self._ran - before) / 1e9, now)
        transport.charge(self._ran - ran)  # with what it took to come to it
        if rest := share.rest():
            self._resting[transport] = now + rest
            more = False
        return more

    def _forget_departed(self) -> None:
        for transport, fd in self._departed.items():
            if self._waits.pop(transport, 0):
                self._selector.unregister(fd)
        self._departed.clear()

    def _find_told(self, busy: dict[Transport, None]) -> None:
        for connection in self.store.ready:
            busy[self._transports[connection]] = None
        self.store.ready.clear()

    def _wait_for(self, transport: Transport, interest: int) -> None:
        known = self._waits.get(transport, 0)
        if interest == known:
            return
        if not known:
            self._selector.register(transport.fileno(), interest, transport)
        elif interest:
            self._selector.modify(transport.fileno(), interest, transport)
        else:
            self._selector.unregister(transport.fileno())
        self._waits[transport] = interest

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            stream, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as refused:
            if refused.errno not in _OUT_OF_DESCRIPTORS:
                raise
            self._complain(logging.WARNING, f"xenstore clients have to wait: {refused.strerror}")
            self._selector.unregister(self._listener)
            return
        transport = SocketTransport(self.store, stream, self._complain)
        self._transports[transport.connection] = transport
        self._busy[transport] = None

    def _resume_accepting(self) -> None:
        """A client went, so another may come."""
        if self._listener is not None and self._listener.fileno() not in self._selector.get_map():
            self._selector.register(self._listener, selectors.EVENT_READ)


def listen(path: Path) -> socket.socket:
    """A unix socket at `path`, for this user alone.  ConfigError where it cannot be, or another listens there."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        os.fchmod(listener.fileno(), 0o600)  # bind makes the file with the mode of the descriptor
        if _is_stale(path):
            path.unlink()
        listener.bind(str(path))
        listener.listen(64)
    except OSError as failed:
        listener.close()
        raise ConfigError(f"{path}: no xenstore socket can be made here: {failed.strerror or failed}") from failed
    except ConfigError:
        listener.close()
        raise
    return listener


def _remove(listener: socket.socket) -> None:
    path = Path(listener.getsockname())
    listener.close()
    with suppress(PermissionError):  # in a jail it is left to whoever made it
        path.unlink(missing_ok=True)


def _is_stale(path: Path) -> bool:
    """Whether a socket is there that nobody listens on.  Raises ConfigError where somebody does."""
    if not path.is_socket():
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return True
    raise ConfigError(f"{path}: another xenstore listens here; choose another path with XENSTORED_PATH")
