"""The backend's end of a device whose driver domain is gone.

Its backend has left requests behind that nobody would ever answer, and a frontend waits for its answers before it lets
go of a device.  So a caretaker takes the backend's place: it acts in the name of the domain that is gone, answers
everything with an error, and closes once nothing is asked any more: what Linux's frontend has not put into its ring
when it is told to close it never does, and waits for all the same.  That nothing is asked any more is a guess: nothing
says so but silence.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from xenia.abi.blkif import BLKIF_SECTOR_SIZE
from xenia.abi.xenbus import XenbusState
from xenia.backends.vbd.device import Vbd
from xenia.foreign.foreign import Foreign
from xenia.machine.thread import HostThread
from xenia.storage.faulty import Faulty
from xenia.storage.layer import Operation
from xenia.storage.memory import Memory
from xenia.xenbus.attachment import Attachment
from xenia.xenbus.directories import Address, state_at
from xenia.xenstore.client import Client, Keys

_PATIENCE = 5.0  # seconds that a frontend may take to let go
_IDLE = 0.3  # seconds without a request
_LOOK = 0.1  # seconds between two looks


class Silence:
    """Tells when a number has stayed the same for `seconds` of the monotonic clock `now`."""

    def __init__(self, seconds: float = _IDLE, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._now = now
        self._number: int | None = None
        self._since = 0.0

    def lasts(self, number: int) -> bool:
        """It is this now: whether it has been for that long."""
        if number != self._number:
            self._number, self._since = number, self._now()
        return self._now() - self._since >= self._seconds


class Caretaker:
    """The backend of a device that had another one before."""

    def __init__(
        self, client: Client, address: Address, foreign: Foreign, sectors: int, silence: Silence | None = None
    ) -> None:
        """Take over.  Precondition: the domain that served it is gone.

        sectors     the disk's size, as the frontend was told it
        silence     by what it is judged that nothing is asked any more
        """
        self._silence = silence if silence is not None else Silence()
        self._client = client
        self._address = address
        # A frontend that has no ring has nothing to be answered.
        has_ring = state_at(client, address.frontend_path) in (XenbusState.INITIALISED, XenbusState.CONNECTED)
        keys = {"online": str(int(has_ring))}
        self._closing = threading.Event()
        self._thread = HostThread(self._unplug_when_idle, "vbd caretaker")
        with ExitStack() as held:
            layer = held.enter_context(Faulty(Memory(max(1, sectors) * BLKIF_SECTOR_SIZE), set(Operation)))
            self._vbd = Vbd(layer, device=address.device)
            held.callback(self._vbd.close)
            self.attachment = Attachment(client, address, foreign, self._vbd, None, keys, succeeds=True)
            held.callback(self.attachment.wait_removed, _PATIENCE)
            held.callback(self.attachment.remove)
            self._thread.start()
            self._held = held.pop_all()

    def _unplug_when_idle(self) -> None:
        while not self._closing.wait(_LOOK):
            if self._silence.lasts(self._vbd.stats.requests):
                self.attachment.unplug()
                return

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
            if keys.exists(path):
                if keys.directory(path):
                    return
                keys.remove(path)
