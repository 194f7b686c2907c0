"""A console at work: the thread that serves it.

It sleeps until the domain notifies, somebody gives input, or the sink takes more.  The domain's eventfd is emptied
only after the work it announced is done, so as long as it is readable an answer is still to come.
"""

from __future__ import annotations

import logging
import os
import selectors
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from xenia.backends.console.persist import ConsoleState
from xenia.backends.console.queue import Queue
from xenia.backends.console.sink import Sink
from xenia.backends.console.stats import ConsoleStats
from xenia.foreign.foreign import Foreign, Service
from xenia.machine.thread import HostThread

_log = logging.getLogger(__name__)


class Console:
    """Serves one domain's console."""

    def __init__(
        self,
        name: str,
        foreign: Foreign,
        sink: Sink,
        state: ConsoleState | None = None,
        emergency_fd: int | None = None,
        log_fd: int | None = None,
        log: Callable[[bytes], object] | None = None,
    ) -> None:
        """`emergency_fd` is the reading end of a pipe with the bytes of CONSOLEIO_write, `log_fd` of one with those
        that came when the ring was in use.  They are made non-blocking and stay their owner's to close, after `close`.
        The rest is as in Console.  FrontendFault where the domain has no console for us.
        """
        self._pipes = [(fd, late) for fd, late in ((emergency_fd, False), (log_fd, True)) if fd is not None]
        for fd, _ in self._pipes:
            os.set_blocking(fd, False)
        # Until it is closed and -1; the lock keeps others from writing to a descriptor that is not ours any more.
        with ExitStack() as held:
            self._foreign = foreign
            self._interface = interface = foreign.interface(Service.CONSOLE)
            held.callback(interface.close)
            self._queue = Queue(
                name, interface.page, interface.notify, sink, state, log=log, before_ring=self._read_emergency
            )
            held.callback(self._queue.close)
            self._selector = held.enter_context(selectors.DefaultSelector())
            self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            held.callback(os.close, self._wake_fd)
            for fd in (interface.event_fd, self._wake_fd, *(fd for fd, _ in self._pipes)):
                self._selector.register(fd, selectors.EVENT_READ)
            self._held = held.pop_all()
        self._wake_lock = threading.Lock()
        self._closing = False
        self._deadline: float | None = None
        self._failure: BaseException | None = None
        self._name = name
        self._thread: HostThread | None = None

    @property
    def stats(self) -> ConsoleStats:
        return self._queue.stats

    @property
    def unshown(self) -> bytes:
        """See Console.unshown."""
        return self._queue.unshown

    def start(self) -> None:
        thread = HostThread(self._run, f"console {self._name}")
        thread.start()
        self._thread = thread

    def send(self, data: bytes) -> None:
        """Give the guest input, waiting where it is slow to take it.  Once the console is closed, input goes nowhere.

        Not for the sink's own callback, which the guest's output would wait for: that has `offer`.
        """
        rest = data
        while rest and self._queue.wait_for_room():
            rest = rest[self.offer(rest) :]

    def offer(self, data: bytes) -> int:
        """Give the guest input without waiting; answers how many of the bytes there was room for."""
        count = self._queue.offer(data)
        if count:
            self._wake()
        return count

    def emergency(self, data: bytes) -> None:
        """Bytes that the guest wrote with CONSOLEIO_write, from any thread."""
        self._queue.emergency(data)
        self._wake()

    def close(self, timeout: float | None = None) -> None:
        """Write out everything the guest has written, then let go of its page.

        Precondition: the domain does not run any more.  A sink that takes nothing is waited for, `timeout` seconds at
        the most.  A bug that ended the console's thread is raised here.
        """
        self._end(timeout)

    def suspend(self) -> ConsoleState:
        """Let go of the guest's page at once; the answer lets a console made later go on.

        Preconditions: the domain does not run, and the console was not closed.
        """
        return self._end(0)

    def _end(self, timeout: float | None) -> ConsoleState:
        with self._wake_lock:
            if self._closing:
                return ConsoleState()
            self._deadline = time.monotonic() + timeout if timeout is not None else None
            self._closing = True
        self._wake()
        if self._thread is not None:
            self._thread.join()
        else:
            self._run()
        state = self._queue.save()
        with self._wake_lock, self._held:
            self._wake_fd = -1
        if self._failure is not None:
            raise self._failure
        return state

    def __enter__(self) -> Console:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wake(self) -> None:
        with self._wake_lock:
            if self._wake_fd >= 0:
                os.eventfd_write(self._wake_fd, 1)

    def _run(self) -> None:
        try:
            self._serve(self._selector)
        except BaseException as failure:
            _log.exception("the thread of a console ended")
            self._failure = failure

    def _serve(self, selector: selectors.BaseSelector) -> None:
        queue = self._queue
        self._ran = time.thread_time_ns()
        waiting_for: int | None = None
        while True:
            closing = self._closing  # before the last look at what the guest wrote
            self._read_emergency()
            while queue.service() or self._rang():
                self._charge()
            self._charge()
            if closing and (not queue.has_output or self._remaining() == 0):
                return
            if queue.waits_for != waiting_for:
                if waiting_for is not None:
                    selector.unregister(waiting_for)
                waiting_for = queue.waits_for
                if waiting_for is not None:
                    selector.register(waiting_for, selectors.EVENT_WRITE)
            for key, _ in selector.select(self._remaining() if closing else None):
                if key.fd == self._wake_fd:
                    os.eventfd_read(self._wake_fd)

    def _charge(self) -> None:
        ran, self._ran = self._ran, time.thread_time_ns()
        self._foreign.charge(self._ran - ran)

    def _rang(self) -> bool:
        """Empty the domain's eventfd; answers whether the ring must be looked at once more."""
        try:
            os.eventfd_read(self._interface.event_fd)
        except BlockingIOError:
            return False
        return True

    def _read_emergency(self) -> None:
        for pipe in list(self._pipes):
            fd, late = pipe
            try:
                data = os.read(fd, 65536)  # all that is in the pipe now, and no more: it may never be empty
            except BlockingIOError:
                continue
            if data:
                self._queue.emergency(data, late)
            else:
                self._selector.unregister(fd)  # its writer is gone
                self._pipes.remove(pipe)

    def _remaining(self) -> float | None:
        """Seconds that closing may still take, None without limit."""
        return None if self._deadline is None else max(self._deadline - time.monotonic(), 0)
