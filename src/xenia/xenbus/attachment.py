"""One split device on the bus: its keys, its state, and the backend behind it.

The handshake runs on a thread of the device's own, woken by watches on both ends, so a backend is never called by two
threads at once, and one that has to wait for its disk holds up no other device and nobody else's store.  Whoever plugs
and unplugs only writes keys.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from xenia.abi.xenbus import XenbusState
from xenia.abi.xs_wire import XsdError
from xenia.foreign.fault import FrontendFault
from xenia.foreign.foreign import Foreign
from xenia.machine.thread import HostThread
from xenia.xenbus.directories import Address, make_backend, make_directories, remove_all, replace_key, state_at
from xenia.xenbus.frontend import Frontend
from xenia.xenbus.handshake import Action, react
from xenia.xenbus.persist import AttachmentState
from xenia.xenstore.client import Client, Keys, Subscription
from xenia.xenstore.error import StoreError

_log = logging.getLogger(__name__)

_MOST_KEYS = 256  # of a frontend's directory: reading them is our time, whenever it changes its state


class Backend(ABC):
    """What serves a device once it is connected.  All methods are called on the device's own thread."""

    __slots__ = ()

    @abstractmethod
    def prepare(self) -> Mapping[str, str]:
        """What is offered to the frontend: keys of the backend's directory."""

    @abstractmethod
    def connect(self, frontend: Frontend) -> Mapping[str, str]:
        """Begin to serve what the frontend published; the answer is what to tell it, as keys of the backend's
        directory.

        Raises FrontendFault where it cannot be used.  Whatever it raises, it has let go of everything.
        """

    @abstractmethod
    def disconnect(self) -> None:
        """Finish what is under way and let go of everything of the frontend's, whatever fails on the way.

        Precondition: connected.
        """

    @abstractmethod
    def suspend(self) -> None:
        """As `disconnect`, but the frontend does not hear of it, and is served again by a backend made of what this one
        saves then.

        Preconditions: connected, and the domain does not run.
        """

    @abstractmethod
    def resume(self, frontend: Frontend) -> Mapping[str, str]:
        """Go on where the backend that this one was made of was suspended; the answer is what has changed since for the
        frontend, as keys of the backend's directory.  Otherwise as `connect`.
        """

    @property
    def follows(self) -> Sequence[str]:
        """Keys of the frontend's directory whose changes it is told of while it is connected."""
        return ()

    def follow(self, key: str, value: str | None) -> None:  # noqa: B027
        """What one of them says now, None where it is not there; told as often as it may have changed, and again."""


class Attachment:
    """A device that was plugged in."""

    def __init__(
        self,
        client: Client,
        address: Address,
        foreign: Foreign,
        backend: Backend,
        frontend_keys: Mapping[str, str] | None = None,
        backend_keys: Mapping[str, str] | None = None,
        *,
        succeeds: bool = False,
        resumes: AttachmentState | None = None,
    ) -> None:
        """Plug the device in: both directories appear at once, with what is to be in them from the start.

        succeeds    the frontend is there, as the backend of a domain that is gone has left it: only the backend's
                    directory is made
        resumes     the device is there, and its frontend goes on, as one that was suspended left it with that state
        """
        self._client = client
        self.address = address
        self._foreign = foreign
        self._backend = backend
        self._connected = False
        self._resumes = resumes
        self._suspending = False
        self._forced = False  # taken away, whatever the store says of its frontend
        self._fault: str | None = None  # why the backend cannot go on with this frontend
        self._complained = resumes is not None and resumes.complained
        self._woken = threading.Event()
        self._failure: BaseException | None = None
        self._changed = threading.Condition()
        self._state = XenbusState.INITIALISING if resumes is None else XenbusState(resumes.state)
        self._removed = False
        made = [address.backend_path] if succeeds else [address.frontend_path, address.backend_path]
        if resumes is not None:
            made = []
        elif succeeds:
            client.atomically(lambda keys: make_backend(keys, address, backend_keys or {}, owner=0))
        else:
            client.atomically(lambda keys: make_directories(keys, address, frontend_keys or {}, backend_keys or {}))
        self._watches: list[Subscription] = []
        backend_path = address.backend_path
        try:
            paths = [f"{address.frontend_path}/{key}" for key in ("state", *backend.follows)]
            for path in (*paths, f"{backend_path}/online", f"{backend_path}/state"):
                self._watches.append(client.watch(path, lambda _: self._woken.set()))
            self._thread = HostThread(self._run, f"{address.kind} {address.device}")
            self._thread.start()
        except BaseException:
            self._forget(*made)
            raise

    @property
    def state(self) -> XenbusState:
        """The state of the backend's end."""
        return self._state

    @property
    def removed(self) -> bool:
        """Whether the device is gone, and its keys with it."""
        return self._removed

    def update(self, values: Mapping[str, str]) -> None:
        """Publish other values of the backend's keys, such as a disk's new size; a frontend that is connected looks at
        them because the state is written again."""
        try:
            self._client.atomically(lambda keys: self._update(keys, values))
        except StoreError as refused:
            if refused.error is not XsdError.ENOENT:  # removed already
                raise

    def unplug(self) -> None:
        """Ask the frontend to let go of the device; it is removed when that has happened."""
        try:
            self._client.atomically(self._go_offline)
        except StoreError as refused:
            if refused.error is not XsdError.ENOENT:  # removed already
                raise

    def remove(self) -> None:
        """The domain is gone, or never answers: end the device whatever its frontend does."""
        self._forced = True
        try:
            self._client.atomically(lambda keys: remove_all(keys, self.address.frontend_path))
        finally:
            self._woken.set()

    def shut(self, reason: str) -> None:
        """The backend cannot serve its frontend any more: complain, let go of it, and ask it to close.  On any thread;
        nothing happens where it is not connected."""
        self._fault = reason
        self._woken.set()

    def suspend(self) -> AttachmentState:
        """Serve it no more, and let go of everything of the frontend's, which does not hear of it; the answer lets one
        made later go on.  What the backend saves after that belongs with it.

        Preconditions: it is not removed, and the domain does not run.  A fault of Xenia's own that ended the device is
        raised here.
        """
        self._suspending = True
        self._woken.set()
        self._thread.join()
        with ExitStack() as stack:
            for watch in self._watches:
                stack.callback(watch.close)
        self._raise_failure()
        kind, domid, device, backend_domid = self.address
        return AttachmentState(kind, domid, device, backend_domid, int(self._state), self._connected, self._complained)

    def wait(self, state: XenbusState, timeout: float | None = None) -> bool:
        """Wait until the backend's end is in a state, or the device removed; answers whether it is in that state.
        A fault of Xenia's own that ended the device is raised here.  Not on the store's thread."""
        with self._changed:
            self._changed.wait_for(lambda: self._state is state or self._removed or self._failure, timeout)
        self._raise_failure()
        return self._state is state

    def wait_removed(self, timeout: float | None = None) -> bool:
        """Wait until the device is gone; answers whether it is.  Not on the store's thread."""
        with self._changed:
            self._changed.wait_for(lambda: self._removed or self._failure, timeout)
        self._raise_failure()
        return self._removed

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    # --- Keys

    def _update(self, keys: Keys, values: Mapping[str, str]) -> None:
        state = keys.read(f"{self.address.backend_path}/state")
        for key, value in values.items():
            keys.write(f"{self.address.backend_path}/{key}", value)
        keys.write(f"{self.address.backend_path}/state", state)

    def _go_offline(self, keys: Keys) -> None:
        keys.read(f"{self.address.backend_path}/state")
        keys.write(f"{self.address.backend_path}/online", "0")

    # --- The handshake, on the device's own thread

    def _run(self) -> None:
        try:
            if self._resumes is not None:
                self._resume(self._resumes)
            while not self._removed:
                self._woken.wait()
                self._woken.clear()
                if self._suspending:
                    if self._connected:
                        self._backend.suspend()
                    return
                self._go_on()
        except BaseException as failure:
            try:
                _log.exception("d%d %s %d ends", self.address.domid, self.address.kind, self.address.device)
                self._end()
            finally:
                with self._changed:
                    self._failure = failure
                    self._changed.notify_all()
        finally:
            del self._backend  # which knows us

    def _end(self) -> None:
        """A fault of ours ends the device: nothing of it stays."""
        with ExitStack() as stack:
            stack.callback(self._forget, self.address.frontend_path, self.address.backend_path)
            self._disconnect()

    def _go_on(self) -> None:
        if self._client.get(f"{self.address.backend_path}/state") == str(int(XenbusState.CLOSING)):
            self._ask_to_close()
        if self._fault is not None and self._connected:
            self._complain(self._fault)
            self._disconnect()
            self._become(XenbusState.CLOSING)
        while not self._removed:
            online = self._client.get(f"{self.address.backend_path}/online") == "1"
            frontend = state_at(self._client, self.address.frontend_path)
            step = react(self._state, XenbusState.UNKNOWN if self._forced else frontend, online)
            if step is None:
                return self._follow()
            self._take(step.action, step.state)

    def _follow(self) -> None:
        if self._connected:
            for key in self._backend.follows:
                self._backend.follow(key, self._client.get(f"{self.address.frontend_path}/{key}"))

    def _ask_to_close(self) -> None:
        """Another toolstack unplugs by writing our state; take it over as our own."""
        if self._state in (XenbusState.CONNECTED, XenbusState.RECONFIGURED):
            self._become(XenbusState.CLOSING)

    def _take(self, action: Action, state: XenbusState) -> None:
        if action is Action.REMOVE:
            return self._remove()
        calls = {Action.PREPARE: self._prepare, Action.CONNECT: self._connect}
        if action in calls and not self._attempt(calls[action]):
            state = XenbusState.CLOSING
        if action is Action.FOLLOW:
            self._follow()
        if action is Action.DISCONNECT:
            self._disconnect()
        self._become(state)

    def _attempt(self, call: Callable[[], None]) -> bool:
        """Let the backend do it; False, with a complaint, where it cannot."""
        try:
            call()
        except FrontendFault as fault:
            self._complain(str(fault))
            return False
        except (OSError, MemoryError) as refused:  # no descriptor, no address space, no thread
            self._complain(f"the host refuses: {getattr(refused, 'strerror', None) or refused or 'no memory'}")
            return False
        return True

    def _prepare(self) -> None:
        self._publish(self._backend.prepare())

    def _connect(self) -> None:
        self._publish(self._backend.connect(self._frontend()))
        self._connected = True

    def _reconnect(self) -> None:
        changed = self._backend.resume(self._frontend())
        self._connected = True
        if changed:
            self.update(changed)

    def _resume(self, left: AttachmentState) -> None:
        """Go on where the device was left; what happened to the keys since is looked at next."""
        if left.connected and not self._attempt(self._reconnect):
            self._become(XenbusState.CLOSING)
        self._woken.set()

    def _disconnect(self) -> None:
        if self._connected:
            self._connected = False
            self._backend.disconnect()
            self._fault = None

    def _frontend(self) -> Frontend:
        path = self.address.frontend_path
        values: dict[str, str] = {}
        with self._client.snapshot() as keys:
            pending = [""] if keys.exists(path) else []
            while pending:
                below = pending.pop()
                for name in keys.directory(f"{path}{below}"):
                    if len(values) == _MOST_KEYS:
                        raise FrontendFault(f"the frontend published more than {_MOST_KEYS} keys")
                    key = f"{below}/{name}"
                    values[key[1:]] = keys.read(f"{path}{key}")
                    pending.append(key)
        return Frontend(self._foreign, values)

    def _publish(self, values: Mapping[str, str]) -> None:
        for key, value in values.items():
            self._client.write(f"{self.address.backend_path}/{key}", value)

    def _complain(self, message: str) -> None:
        # Once: a guest can go on with this for ever.
        level = logging.DEBUG if self._complained else logging.WARNING
        self._complained = True
        _log.log(level, "d%d %s %d: %s", self.address.domid, self.address.kind, self.address.device, message)
        home = f"/local/domain/{self.address.backend_domid}"
        self._client.write(f"{home}/error/{self.address.backend_name}/error", message)

    def _become(self, state: XenbusState) -> None:
        self._client.atomically(lambda keys: replace_key(keys, f"{self.address.backend_path}/state", str(int(state))))
        with self._changed:
            self._state = state
            self._changed.notify_all()

    def _remove(self) -> None:
        self._forget(self.address.frontend_path, self.address.backend_path)
        with self._changed:
            self._removed = True
            self._changed.notify_all()

    def _forget(self, *paths: str) -> None:
        """Leave no key and no watch behind."""
        with ExitStack() as stack:
            for watch in self._watches:
                stack.callback(watch.close)
            self._client.atomically(lambda keys: remove_all(keys, *paths))
