"""One console: its ring, and what waits on either side of it.

A guest has two ways to speak: its ring is its console, and CONSOLEIO_write goes to the hypervisor's log, as `xl dmesg`
shows it.  A guest whose ring does not work yet, or no more, has only the latter, so what it says so is shown too, until
the ring is used.

`service` moves what can be moved without waiting.  It runs on one thread at a time; input and emergency output may
come from any thread at any moment.  Output that the sink does not take stays, first here and then in the ring, until
the guest itself has to wait: nothing is lost and nothing grows.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import Final

from xenia.abi.console import IN_SIZE, OUT_SIZE
from xenia.backends.console.persist import ConsoleState
from xenia.backends.console.ring import ConsoleRing
from xenia.backends.console.sink import Sink
from xenia.backends.console.stats import ConsoleStats
from xenia.rings.fault import RingFault

_log = logging.getLogger(__name__)

# Input that may wait for room in the ring; who sends more waits.
INPUT_LIMIT: Final = 64 << 10
# Output that may wait for the sink before the ring is left as it is.
OUTPUT_LIMIT: Final = 64 << 10
# What of the emergency output that was not shown is kept, for when the guest dies of it.
UNSHOWN_LIMIT: Final = 4 << 10
# Emergency output that may wait; it comes from a hypercall, which waits for nobody, so more than this is discarded.
EMERGENCY_LIMIT: Final = 1 << 20


class Queue:
    """The paravirtual console of one domain, and its emergency console."""

    def __init__(
        self,
        name: str,
        page: memoryview,
        notify: Callable[[], None],
        sink: Sink,
        state: ConsoleState | None = None,
        *,
        log: Callable[[bytes], object] | None = None,
        before_ring: Callable[[], None] | None = None,
    ) -> None:
        """`page` holds struct xencons_interface; `notify` sends the domain an event on its console port, on any
        thread.  `name` is for our own log.

        state       of the console that goes on in this one
        log         gets all emergency output, on any thread
        before_ring called by `service` when the ring is about to be used for the first time: what the guest said before
                    that in an emergency is to have arrived when it returns
        """
        state = state if state is not None else ConsoleState()
        self._name = name
        self._ring: ConsoleRing | None = ConsoleRing(page)
        self._notify = notify
        self._sink = sink
        self._sink_failed = False
        self.stats = ConsoleStats(**state.counts)
        # Only `service` touches the output; the lock guards what comes from other threads.
        self._output = bytearray(state.output)
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._input = bytearray(state.input)
        self._emergency = bytearray(state.emergency)
        self._unshown = bytearray(state.unshown)
        self._log = log
        self._before_ring = before_ring
        self._ring_used = state.ring_used
        self._early = bytearray(state.early)  # the newest of what was shown before
        self._closed = False
        if state.ring_failed:
            self._drop_ring()

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

    def emergency(self, data: bytes, late: bool = False) -> None:
        """Bytes of CONSOLEIO_write; `late`: the guest had used its ring before.  `service` is to be called soon."""
        with self._lock:
            self.stats.emergency_bytes += len(data)
            if late and self._ring is not None:
                self._unshown = (self._unshown + data)[-UNSHOWN_LIMIT:]
            else:
                count = 0 if self._closed else min(len(data), EMERGENCY_LIMIT - len(self._emergency))
                self._emergency += data[:count]
                self.stats.discarded_bytes += len(data) - count
        if self._log is not None:
            self._log(data)

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
    def unshown(self) -> bytes:
        """The newest of the emergency output that was not shown, because the ring is in use."""
        with self._lock:
            return bytes(self._unshown)

    @property
    def has_output(self) -> bool:
        """Whether output waits for the sink."""
        with self._lock:
            return bool(self._output or self._emergency)

    def save(self) -> ConsoleState:
        """What a console made later needs in order to go on.  Precondition: nobody serves it now, and it is not
        closed."""
        with self._lock:
            return ConsoleState(
                input=bytes(self._input),
                output=bytes(self._output),
                emergency=bytes(self._emergency),
                unshown=bytes(self._unshown),
                early=bytes(self._early),
                ring_used=self._ring_used,
                ring_failed=self._ring is None,
                counts=asdict(self.stats),
            )

    def close(self) -> None:
        """Let go of the page; what waits on either side is dropped, and who waits to give more goes on."""
        with self._room:
            self._closed = True
            self._input.clear()
            self.stats.discarded_bytes += len(self._output) + len(self._emergency)
            self._output.clear()
            self._emergency.clear()
            self._room.notify_all()
        self._drop_ring()
        self._before_ring = None  # whose it is has us

    def _drop_ring(self) -> None:
        if self._ring is not None:
            self._ring.close()
            self._ring = None

    def _move_output(self) -> bool:
        """Ring to sink; answers whether the ring had any."""
        self._show_emergency()
        self._write()  # what waits already, so that there is room whenever the sink has some
        if self._ring is None or len(self._output) >= OUTPUT_LIMIT:
            return False
        try:
            if not self._ring_used and not self._begin(self._ring):
                return False
            data = self._ring.output.take()
        except RingFault as fault:
            self._fail(fault)
            return False
        if data:
            self.stats.output_bytes += len(data)
            self.stats.batches += 1
            self._output += _without_echo(data, bytes(self._early)) if self._early else data
            self._early.clear()
            self._write()
        return bool(data)

    def _show_emergency(self) -> None:
        if self._emergency and len(self._output) < OUTPUT_LIMIT:
            with self._lock:
                self._early = (self._early + self._emergency)[-OUT_SIZE:]
                self._output += self._emergency
                self._emergency.clear()

    def _begin(self, ring: ConsoleRing) -> bool:
        """Whether the guest uses its ring from now on; then what it said before is in the output."""
        if not ring.output.has_bytes:
            return False
        if self._before_ring is not None:
            self._before_ring()
        self._show_emergency()
        self._ring_used = True
        return True

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
                count = self._ring.input.put(bytes(self._input[:IN_SIZE]))
            except RingFault as fault:
                self._fail(fault)
                return False
            del self._input[:count]
            self.stats.input_bytes += count
            self._room.notify_all()
        return count > 0

    def _fail(self, fault: RingFault) -> None:
        _log.warning("%s: console ring not served any more: %s", self._name, fault)
        self._drop_ring()


def _without_echo(data: bytes, early: bytes) -> bytes:
    """The ring's first words, but for the lines, or the line, that the guest has just said the other way as well."""
    text = data.replace(b"\r", b"")
    early = early.replace(b"\r", b"")
    for said in (early, early.rstrip(b"\n").rpartition(b"\n")[2] + b"\n"):
        if said.strip() and said.endswith(b"\n") and text.startswith(said):
            return data.split(b"\n", said.count(b"\n"))[-1]
    return data
