"""A command's standard streams through rings that the guest shares: the thread that serves the host's end.

It moves bytes straight between the guest's pages and our descriptors, and sleeps until the guest notifies, a descriptor
is ready that it waits for, or somebody has something to say.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from typing import Protocol

from xenia.backends.streams.ring import ERR, IN, OUT, FirstPage, Reader, Writer
from xenia.backends.streams.source import Source
from xenia.backends.streams.stats import StreamsStats
from xenia.foreign.fault import FrontendFault
from xenia.foreign.foreign import Foreign
from xenia.machine.thread import HostThread
from xenia.rings.fault import RingFault

_log = logging.getLogger(__name__)


class Sink(Protocol):
    """Where one of the guest's streams goes."""

    def fileno(self) -> int:
        """What becomes writable when `put` takes more."""

    def put(self, parts: Sequence[memoryview], /) -> int:
        """Take as many bytes of these as can be taken now; answers how many."""


class Streams:
    """Serves the rings of one command, from the moment it is made."""

    def __init__(
        self,
        foreign: Foreign,
        port: int,
        ref: int,
        stdin: int | None,
        output: Sink,
        errors: Sink,
        on_end: Callable[[], None],
        request: bytes = b"",
    ) -> None:
        """`ref` grants the page with the indices, `port` is open for us.  `request` goes before what `stdin` has, None
        being nothing at all.  `on_end` is called when nothing is served any more, on the thread that served.
        FrontendFault where they cannot be used, and OSError where the host lacks what that takes, with everything let
        go."""
        self._foreign = foreign
        with ExitStack() as stack:
            self._channel = stack.enter_context(closing(foreign.bind(port)))
            first = stack.enter_context(closing(foreign.map([ref])))
            self._first = stack.enter_context(closing(FirstPage(first.memory)))
            stack.callback(self._take_leave)
            pages = stack.enter_context(closing(foreign.map(self._first.references)))
            self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            stack.callback(os.close, self._wake_fd)
            self._outputs = [
                (stack.enter_context(closing(Reader(first.memory, pages.memory, index))), output)
                for index, output in ((OUT, output), (ERR, errors))
            ]
            self._input = stack.enter_context(closing(Writer(first.memory, pages.memory, IN)))
            self.stats = StreamsStats()
            self._request = memoryview(request)  # what is left of it
            self._request_size = len(request)
            self._request_taken = not request
            # None: its end is told, once the request is
            self._stdin = stack.enter_context(closing(Source(stdin))) if stdin is not None else None
            self._input_ended = False
            self._on_end = on_end
            self._ending = False
            self._cancelled = False
            self._closed = False
            self._waking = threading.Lock()  # a descriptor that is not ours any more is not written to
            self._failure: BaseException | None = None
            self._thread = HostThread(self._run, f"streams d{foreign.domid}")
            self._held = stack.pop_all()
        try:
            self._thread.start()
        except BaseException:
            self._held.close()
            raise

    def finish(self) -> None:
        """The guest writes no more: bring out what it has written, and end."""
        self._ending = True
        self._wake()

    def drain(self) -> None:
        """`finish`, and wait for the end."""
        self.finish()
        self._thread.join()

    def close(self) -> None:
        """End now and let go of the guest's pages; closing again does nothing.  A fault of Xenia's own that ended the
        thread is raised here."""
        self._cancelled = True
        self._wake()
        self._thread.join()
        self._let_go()
        if self._failure is not None:
            raise self._failure

    def _let_go(self) -> None:
        with self._waking:
            self._closed = True
            self._held.close()

    def _take_leave(self) -> None:
        """The rings are let go of, and their first page will be."""

    def _wake(self) -> None:
        with self._waking:
            if not self._closed:
                os.eventfd_write(self._wake_fd, 1)

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as failure:
            _log.exception("the thread of a command's streams ended")
            self._failure = failure
        self._on_end()

    def _serve(self) -> None:
        ready: set[int] = set()
        ran = time.thread_time_ns()
        while not self._cancelled:
            before, ran = ran, time.thread_time_ns()
            self._foreign.charge(ran - before)
            ending = self._ending  # before the last look at what the guest wrote
            try:
                if self._request or self._stdin is None:
                    self._put_request()
                elif self._stdin.fileno() in ready:
                    self._read_input(self._stdin)
                ending = self._look(ready) or ending
                blocked, moved = self._bring()
                if self._cancelled or (ending and not blocked and not moved):
                    return
                ready = self._wait(blocked, moved)
            except RingFault as fault:
                # As text: whoever keeps the fault itself keeps its frames, and their views of the guest's pages.
                _log.warning("the command's streams are not served any more: %s", str(fault))
                self._outputs, self._stdin, self._input_ended = [], None, True
                self._request = memoryview(b"")
                self._faulted()

    def _faulted(self) -> None:
        """The guest wrote what cannot be, and is not served any more."""

    def _look(self, ready: set[int]) -> bool:
        """Whether the guest writes no more than it has.  For who knows more of it, with descriptors of `_more`."""
        return False

    def _more(self) -> Sequence[int]:
        """Descriptors to wait for besides ours."""
        return ()

    def _bring(self) -> tuple[list[Sink], bool]:
        """Move from the guest to the outputs what goes now; those that take no more, and whether anything moved."""
        blocked, moved = [], False
        for ring, output in self._outputs:
            if parts := ring.readable():
                if count := output.put(parts):
                    moved = True
                    self.stats.output_bytes += count
                    if ring.consume(count):
                        self._notify()
                else:
                    blocked.append(output)
        return blocked, moved

    def _put_request(self) -> None:
        """Give the guest what there is to say before the input, and the input's end where there is none."""
        while self._request and (room := self._input.writable()):
            count = min(len(room[0]), len(self._request))
            room[0][:count] = self._request[:count]
            self._request = self._request[count:]
            if self._input.produce(count):
                self._notify()
        if not self._request and self._stdin is None and not self._input_ended:
            self._input_ended = True
            self._first.end_input()
            self._notify()

    def _has_request(self) -> bool:
        """Whether the guest has taken the request; it gets no input before that."""
        self._request_taken = self._request_taken or self._input.has_taken(self._request_size)
        return self._request_taken

    def _read_input(self, stdin: Source) -> None:
        """Give the guest what standard input has.  It is ready."""
        if not (room := self._input.writable()):
            return
        try:
            count = stdin.take(room)
        except BlockingIOError:
            return
        except OSError as failure:
            if failure.errno == errno.EOPNOTSUPP:
                self._must_wait()
                return
            count = 0  # closed, or a terminal that hung up
        if not count:
            self._stdin = None
            self._put_request()
            return
        self.stats.input_bytes += count
        if self._input.produce(count):
            self._notify()

    def _must_wait(self) -> None:
        """Standard input cannot be read but by waiting for it."""
        if self._stdin is not None:
            self._stdin.wait_from_now_on()

    def _notify(self) -> None:
        self.stats.notifications += 1
        self._channel.notify()

    def _wait(self, blocked: list[Sink], moved: bool) -> set[int]:
        """The descriptors that are ready, once some are, or at once where something `moved` and there may be more."""
        poll = select.poll()
        poll.register(self._channel.event_fd, select.POLLIN)
        poll.register(self._wake_fd, select.POLLIN)
        for output in blocked:
            poll.register(output, select.POLLOUT)
        for descriptor in self._more():
            poll.register(descriptor, select.POLLIN)
        if self._request:
            self._input.writable()  # an event when there is room
        elif self._stdin is not None and self._has_request() and self._input.writable():
            poll.register(self._stdin, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(0 if moved else None)}
        with suppress(BlockingIOError):
            os.eventfd_read(self._wake_fd)
        if self._channel.event_fd in ready:
            os.eventfd_read(self._channel.event_fd)
        return ready


def serve(
    foreign: Foreign, port: int, ref: int, stdin: int, output: Sink, errors: Sink, on_end: Callable[[], None]
) -> Streams | None:
    """The streams, or None, with a warning, where they cannot be served."""
    try:
        return Streams(foreign, port, ref, stdin, output, errors, on_end)
    except (FrontendFault, OSError) as fault:
        _log.warning("the command's streams cannot be served: %s", fault)
        return None
