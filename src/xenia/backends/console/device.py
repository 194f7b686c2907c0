"""One console: its ring, and what waits on either side of it.

`service` moves what can be moved without waiting.  It runs on one thread at a time; input and emergency output may
come from any thread at any moment.  Output that the sink does not take stays, first here and then in the ring, until
the guest itself has to wait: nothing is lost and nothing grows.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from xenia.abi.console import IN_SIZE
from xenia.backends.console.persist import ConsoleState
from xenia.backends.console.ring import ConsoleRing
from xenia.backends.console.sink import Sink
from xenia.backends.console.stats import ConsoleStats
from xenia.backends.fault import RingFault

_log = logging.getLogger(__name__)

# Input that may wait for room in the ring; who sends more waits.
INPUT_LIMIT: Final = 64 << 10
# Output that may wait for the sink before the ring is left as it is.
OUTPUT_LIMIT: Final = 64 << 10
# Emergency output that may wait; it comes from a hypercall, which waits for nobody, so more than this is discarded.
EMERGENCY_LIMIT: Final = 1 << 20


class Console:
    """The paravirtual console of one domain, and its emergency console."""

    def __init__(
        self,
        name: str,
        page: memoryview,
        notify: Callable[[], None],
        sink: Sink,
        state: ConsoleState | None = None,
    ) -> None:
        """`page` holds struct xencons_interface; `notify` sends the domain an event on its console port, on any
        thread.  `name` is for the log."""
        state = state if state is not None else ConsoleState()
        self._name = name
        self._ring: ConsoleRing | None = ConsoleRing(page)
        self._notify = notify
        self._sink = sink
        self._sink_failed = False
        self.stats = ConsoleStats()
        # Only `service` touches the output; the lock guards what comes from other threads.
        self._output = bytearray(state.pending_output)
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._input = bytearray(state.pending_input)
        self._emergency = bytearray()
        self._closed = False

    # --- From any thread

    def offer(self, data: bytes) -> int:
        """Queue input; answers how many of the bytes there was room for.  `service` is to be called soon."""
        with self._lock:
            count = 0 if self._closed else min(len(data), INPUT_LIMIT - len(self._input))
            self._input += data[:count]
        return count

    def wait_for_room(self) -> bool:
        """Wait until `offer` would take something; answers False if it never will again."""
        with self._room:
            self._room.wait_for(lambda: self._closed or len(self._input) < INPUT_LIMIT)
            return not self._closed

    def emergency(self, data: bytes) -> None:
        """Bytes of CONSOLEIO_write.  `service` is to be called soon."""
        with self._lock:
            count = 0 if self._closed else min(len(data), EMERGENCY_LIMIT - len(self._emergency))
            self._emergency += data[:count]
            self.stats.emergency_bytes += len(data)
            self.stats.discarded_bytes += len(data) - count

    # --- From the thread that serves the console

    def service(self) -> bool:
        """Move output and input; answers whether anything moved, so that there may be more."""
        taken, given = self._move_output(), self._move_input()
        if taken or given:
            self.stats.notifications += 1
            self._notify()
        return taken or given

    @property
    def waits_for(self) -> int | None:
        """The descriptor to wait for until it is writable, if output waits."""
        return self._sink.fileno() if self._output else None

    @property
    def has_output(self) -> bool:
        """Whether output waits for the sink."""
        with self._lock:
            return bool(self._output or self._emergency)

    def save(self) -> ConsoleState:
        """What a console made later needs in order to go on.  Precondition: nobody serves it now, and it is not
        closed."""
        with self._lock:
            return ConsoleState(bytes(self._input), bytes(self._output + self._emergency))

    def close(self) -> None:
        """Let go of the page; what waits on either side is dropped, and who waits to give more goes on."""
        with self._room:
            self._closed = True
            self._input.clear()
            self.stats.discarded_bytes += len(self._output) + len(self._emergency)
            self._output.clear()
            self._emergency.clear()
            self._room.notify_all()
        if self._ring is not None:
            self._ring.close()
            self._ring = None

    def _move_output(self) -> bool:
        """Ring to sink; answers whether the ring had any."""
        if self._emergency and len(self._output) < OUTPUT_LIMIT:
            with self._lock:
                self._output += self._emergency
                self._emergency.clear()
        self._write()  # what waits already, so that there is room whenever the sink has some
        if self._ring is None or len(self._output) >= OUTPUT_LIMIT:
            return False
        try:
            data = self._ring.take()
        except RingFault as fault:
            self._fail(fault)
            return False
        if data:
            self.stats.output_bytes += len(data)
            self.stats.batches += 1
            self._output += data
            self._write()
        return bool(data)

    def _write(self) -> None:
        """Output to sink, as much as it takes."""
        if not self._output:
            return
        if not self._sink_failed:
            try:
                del self._output[: self._sink.write(bytes(self._output))]
                return
            except OSError as failed:
                _log.warning("%s: console output is discarded from here on: %s", self._name, failed.strerror)
                self._sink_failed = True
        self.stats.discarded_bytes += len(self._output)
        self._output.clear()

    def _move_input(self) -> bool:
        """Queue to ring; answers whether any went."""
        if self._ring is None or not self._input:
            return False
        with self._room:
            try:
                count = self._ring.put(bytes(self._input[:IN_SIZE]))
            except RingFault as fault:
                self._fail(fault)
                return False
            del self._input[:count]
            self.stats.input_bytes += count
            self._room.notify_all()
        return count > 0

    def _fail(self, fault: RingFault) -> None:
        _log.warning("%s: console ring not served any more: %s", self._name, fault)
        assert self._ring is not None
        self._ring.close()
        self._ring = None
