"""A disk of one domain that another domain serves: a driver domain, whose kernel has the backend.

The toolstack's part is the keys of both ends, as xl writes them for `backend=DOMAIN`, and to take them away again.
What the two domains then do with grants and events is between them.

Somebody has to tell the backend which device it is, in the key physical-device.  In Xen that is a hotplug script in the
driver domain, which looks the node up.  Here the toolstack writes the number itself, where the node's name gives it or
the operator does; with `script` it is left to the driver domain, as in Xen.

When the driver domain is gone, its backend has left requests behind that nobody would ever answer, and a frontend waits
for its answers before it lets go of a device.  So a caretaker takes the backend's place: it acts in the name of the
domain that is gone, answers everything with an error, and closes once nothing is asked any more: what Linux's frontend
has not put into its ring when it is told to close it never does, and waits for all the same.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from xenia.abi.blkif import SECTOR_SIZE
from xenia.abi.xenbus import XenbusState
from xenia.backends.vbd.device import Vbd
from xenia.backends.vbd.name import device_number
from xenia.errors import ConfigError
from xenia.foreign.foreign import Foreign
from xenia.machine.thread import HostThread
from xenia.storage.faulty import Faulty
from xenia.storage.layer import Operation
from xenia.storage.memory import Memory
from xenia.xenbus.attachment import Address, Attachment, make_directories, remove_all, state_at
from xenia.xenstore.client import Client, Keys, Subscription
from xenia.xenstore.permissions import Access, Permissions

_PATIENCE = 5.0  # seconds that a backend may take to let go of what a dead domain granted it
_IDLE = 0.3  # seconds without a request

_SECTORS = re.compile("[0-9]{1,15}")
_NUMBER = re.compile(r"([0-9]{1,4}):([0-9]{1,7})")
_NODE = re.compile(r"/dev/(loop|ram|nbd|md)([0-9]{1,3})")
_XVD = re.compile(r"/dev/(xvd[a-p])([0-9]{0,2})")
# Linux's allocated devices: numbers that a node's name alone gives, on every kernel.
_MAJORS = {"ram": 1, "loop": 7, "md": 9, "nbd": 43}


def physical_device(params: str, number: str | None = None) -> str:
    """The value of the key physical-device: a device's number, in hexadecimal.

    params    the path of its node in the driver domain
    number    MAJOR:MINOR in decimal, as `ls -l` shows it there; None where the name gives it

    ConfigError: it does not, or that is no number.
    """
    if number is not None:
        if given := _NUMBER.fullmatch(number):
            return f"{int(given[1]):x}:{int(given[2]):x}"
        raise ConfigError(f"'{number}' is no device's number: use MAJOR:MINOR in decimal, such as 7:0")
    if known := _NODE.fullmatch(params):
        return f"{_MAJORS[known[1]]:x}:{int(known[2]):x}"
    if (known := _XVD.fullmatch(params)) and int(known[2] or 0) < 16:
        first = device_number(known[1])
        return f"{first >> 8:x}:{(first & 0xFF) + int(known[2] or 0):x}"
    raise ConfigError(f"the number of '{params}' does not follow from its name: give it too, as MAJOR:MINOR")


class ServedDisk:
    """A disk that is plugged into a domain and served by another."""

    def __init__(
        self,
        client: Client,
        name: str,
        address: Address,
        foreign: Callable[[], Foreign],
        backend_keys: Mapping[str, str],
        *,
        cdrom: bool = False,
        is_served: Callable[[], bool],
    ) -> None:
        """Plug it in.

        foreign         makes the guest as the driver domain's backend sees it
        backend_keys    what the backend is told about the device
        is_served       whether the driver domain runs
        """
        self.name = name
        self.address = address
        self._client = client
        self._foreign = foreign
        self._is_served = is_served
        self._ending = threading.Lock()  # held by who takes it away, or puts a caretaker there
        self._changed = threading.Condition()
        self._state = XenbusState.INITIALISING
        self._sectors = 0
        self._leaving = False
        self._removed = False
        self._caretaker: _Caretaker | None = None
        kind = "cdrom" if cdrom else "disk"
        frontend = {"virtual-device": str(address.device), "device-type": kind}
        backend = {"dev": name, "device-type": kind, "removable": str(int(cdrom)), "bootable": "1", **backend_keys}
        client.atomically(lambda keys: make_directories(keys, address, frontend, backend))
        try:
            self._watch: Subscription | None = client.watch(f"{address.backend_path}/state", self._on_change)
        except BaseException:
            client.atomically(lambda keys: remove_all(keys, address.frontend_path, address.backend_path))
            raise

    @property
    def device(self) -> int:
        """Its number in the guest."""
        return self.address.device

    @property
    def state(self) -> XenbusState:
        """The state of the backend's end."""
        return self._caretaker.attachment.state if self._caretaker is not None else self._state

    @property
    def removed(self) -> bool:
        """Whether the device is gone, and its keys with it."""
        return self._caretaker.attachment.removed if self._caretaker is not None else self._removed

    def wait(self, state: XenbusState, timeout: float | None = None) -> bool:
        """Wait until the backend's end is in a state, or the device removed; answers whether it is in that state."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._state is state or self._removed or self._caretaker is not None, timeout
            )
            return self._state is state

    def unplug(self, timeout: float | None = None) -> bool:
        """Ask both domains to let go of it, and remove it once they have; answers whether they did within `timeout`
        seconds."""
        if self._caretaker is None:
            self._leaving = True
            if not self._client.atomically(self._go_offline):
                self._remove()  # it never came as far as that anybody had to let go
            with self._changed:
                self._changed.wait_for(lambda: self._removed or self._caretaker is not None, timeout)
        caretaker = self._caretaker
        if caretaker is None:
            return self._removed
        if not caretaker.attachment.wait_removed(timeout):
            return False
        caretaker.close()
        return True

    def remove(self) -> None:
        """The domain it is plugged into is gone, or never answers: take it away.  The backend lets go of what it mapped
        first, where it can.  Again does nothing."""
        with self._ending:
            if self._caretaker is not None:
                self._caretaker.close()
            elif not self._removed:
                self._leaving = True
                if self._client.atomically(self._close_frontend) and self._is_served():
                    self._wait_removed(_PATIENCE)
                self._remove()
                self._wait_removed(_PATIENCE)  # where the store's thread was first

    def abandon(self) -> None:
        """The driver domain is gone, with everything that was its own: tell the frontend.

        Precondition: the store and the hypervisor have forgotten that domain.
        """
        with self._ending:
            watch = self._end_watch()
            if watch is None:
                return
            try:
                watch.close()
                caretaker = _Caretaker(self._client, self.address, self._foreign(), self._sectors)
            except BaseException:
                self._forget()
                raise
            with self._changed:
                self._caretaker = caretaker
                self._changed.notify_all()

    # --- Keys

    def _go_offline(self, keys: Keys) -> bool:
        """Ask for the end, as xl does; whether there is a connection to end."""
        path = self.address.backend_path
        state = state_at(keys, path)
        if state is XenbusState.CONNECTED:
            keys.write(f"{path}/state", str(int(XenbusState.CLOSING)))
        if state in (XenbusState.CONNECTED, XenbusState.CLOSING):
            keys.write(f"{path}/online", "0")
            return True
        return False

    def _close_frontend(self, keys: Keys) -> bool:
        """Say for a frontend that says nothing any more that it closed; whether the backend has something of it."""
        path = self.address.backend_path
        if state_at(keys, path) not in (XenbusState.INIT_WAIT, XenbusState.CONNECTED, XenbusState.CLOSING):
            return False
        keys.write(f"{path}/online", "0")
        keys.write(f"{self.address.frontend_path}/state", str(int(XenbusState.CLOSED)))
        return True

    def _on_change(self, _: str) -> None:
        """The backend's state is another one.  On the store's thread."""
        state = state_at(self._client, self.address.backend_path)
        sectors = _SECTORS.fullmatch(self._client.get(f"{self.address.backend_path}/sectors") or "")
        if sectors is not None:
            self._sectors = int(sectors[0])
        with self._changed:
            self._state = state
            self._changed.notify_all()
        if self._leaving and state is XenbusState.CLOSED:
            self._remove()

    def _remove(self) -> None:
        watch = self._end_watch()
        if watch is not None:
            try:
                watch.close()
            finally:
                self._forget()

    def _forget(self) -> None:
        address = self.address
        self._client.atomically(lambda keys: remove_all(keys, address.frontend_path, address.backend_path))
        with self._changed:
            self._removed = True
            self._changed.notify_all()

    def _end_watch(self) -> Subscription | None:
        """The watch, to whoever ends this; it is there for one alone."""
        with self._changed:
            watch, self._watch = self._watch, None
        return watch

    def _wait_removed(self, timeout: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._removed, timeout)


class _Caretaker:
    """The backend's end of a device whose domain is gone."""

    def __init__(self, client: Client, address: Address, foreign: Foreign, sectors: int) -> None:
        self._client = client
        self._address = address
        # A frontend that has no ring has nothing to be answered.
        has_ring = state_at(client, address.frontend_path) in (XenbusState.INITIALISED, XenbusState.CONNECTED)
        keys = {"online": str(int(has_ring))}
        self._closing = threading.Event()
        self._thread = HostThread(self._unplug_when_idle, "vbd caretaker")
        with ExitStack() as held:
            layer = held.enter_context(Faulty(Memory(max(1, sectors) * SECTOR_SIZE), set(Operation)))
            self._vbd = Vbd(layer, device=address.device)
            held.callback(self._vbd.close)
            self.attachment = Attachment(client, address, foreign, self._vbd, None, keys, succeeds=True)
            held.callback(self.attachment.wait_removed, _PATIENCE)
            held.callback(self.attachment.remove)
            self._thread.start()
            self._held = held.pop_all()

    def _unplug_when_idle(self) -> None:
        seen = -1
        while not self._closing.wait(_IDLE):
            requests = self._vbd.stats.requests
            if requests == seen:
                self.attachment.unplug()
                return
            seen = requests

    def close(self) -> None:
        """Take the device away, whatever the frontend does.  Again does nothing."""
        if not self._closing.is_set():
            self._closing.set()
            with self._held:
                self._thread.end()
            self._client.atomically(self._tidy)

    def _tidy(self, keys: Keys) -> None:
        """Nobody else removes what is empty now in the home of a domain that is gone."""
        path = self._address.backend_path
        for _ in self._address.backend_name.split("/"):
            path = path.rpartition("/")[0]
            if not keys.exists(path) or keys.directory(path):
                return
            keys.remove(path)


def backend_home(keys: Keys, domid: int) -> None:
    """Make the directory in which a driver domain's backends are; it is the domain's own."""
    path = f"/local/domain/{domid}/backend"
    keys.mkdir(path)
    keys.set_permissions(path, Permissions(domid, Access.NONE))
