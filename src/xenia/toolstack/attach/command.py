"""A command in the guest, with its standard streams and its exit status as the operator's own."""

from __future__ import annotations

import threading
from collections.abc import Callable

from xenia.agent.protocol import (
    AgentConnection,
    ConsoleText,
    CreditGranted,
    Event,
    Exited,
    Killed,
    Rings,
    Started,
    Stderr,
    Stdout,
)
from xenia.backends.streams.device import Streams, serve
from xenia.foreign.foreign import Foreign
from xenia.toolstack.attach.session import Line
from xenia.toolstack.attach.terminal import Output

_AGENT = "xenia: "


class CommandLine(Line):
    """Carries a command's streams over the console in the agent's records, or where the guest can share memory,
    through rings in it.

    Whatever else appears on the console (the kernel's messages) is kept, the newest of it, in case the guest dies of
    it; with `verbose` it goes to the error output as well.

    `on_started` is called when the command runs, on the console's thread.  `foreign` says who the guest is that shares
    rings, and `stdin` is what they are filled from.
    """

    _KEPT = 16384  # bytes of console text
    _MOST_WORDS = 4

    def __init__(
        self,
        output: Output,
        errors: Output,
        wake: Callable[[], None],
        *,
        on_started: Callable[[], None] = lambda: None,
        verbose: bool = False,
        foreign: Callable[[], Foreign] | None = None,
        stdin: int = 0,
    ) -> None:
        self._output = output
        self._errors = errors
        self._wake = wake
        self._on_started = on_started
        self._verbose = verbose
        self._foreign = foreign
        self._stdin = stdin
        self._streams: Streams | None = None
        self._closed = False
        self._agent = AgentConnection()
        self._lock = threading.Lock()  # the agent is used by the console's thread and by the session's
        self._console = bytearray()
        self._last_word: int | None = None  # the command's status; its output may still be on its way
        self.status: int | None = None
        self.killed = 0  # by that signal, where one ended it

    def receive(self, data: bytes) -> None:
        with self._lock:
            events = self._agent.receive(data)
        for event in events:
            self._take(event)

    def room(self) -> int:
        with self._lock:
            return self._agent.credit

    def finished(self) -> bool:
        return self.status is not None

    def typed(self, data: bytes) -> bytes:
        with self._lock:
            return _past_sysrq(self._agent.send_input(data))

    def end_of_input(self) -> bytes:
        with self._lock:
            return _past_sysrq(self._agent.send_end_of_input())

    def drain(self) -> None:
        """The guest has ended: bring out what it left.  Waits for who reads it."""
        with self._lock:
            streams = self._streams
        if streams is not None:
            streams.drain()

    def close(self) -> None:
        """Let go of what the guest shared.  Again does nothing."""
        with self._lock:
            streams, self._streams, self._closed = self._streams, None, True
        if streams is not None:
            streams.close()

    def console_text(self) -> bytes:
        """The newest of what the guest's kernel said, in whole lines."""
        text = bytes(self._console)
        return text if len(text) < self._KEPT else text[text.find(b"\n") + 1 :]

    def agent_words(self) -> list[str]:
        """The newest lines on the console that are the agent's own, or claim to be."""
        lines = (line.strip() for line in self.console_text().decode("utf-8", "replace").split("\n"))
        said = [line.removeprefix(_AGENT) for line in lines if line.startswith(_AGENT)]
        return said[-self._MOST_WORDS :]

    def _take(self, event: Event) -> None:
        match event:
            case Stdout(data):
                self._output.write(data)
            case Stderr(data):
                self._errors.write(data)
            case ConsoleText(data):
                self._console += data
                del self._console[: -self._KEPT]
                if self._verbose:
                    self._errors.write(data)
            case Started():
                self._on_started()
                self._wake()
            case Rings(_, port, ref):
                self._on_started()
                self._share(port, ref)
            case CreditGranted():
                self._wake()
            case Exited(status):
                self._end(status)
            case Killed(number):
                self.killed = number
                self._end(128 + number)

    def _share(self, port: int, ref: int) -> None:
        with self._lock:
            if self._foreign is not None and not self._closed:
                self._streams = serve(
                    self._foreign(), port, ref, self._stdin, self._output, self._errors, self._all_is_out
                )

    def _end(self, status: int) -> None:
        with self._lock:
            self._last_word = status
            if self._streams is not None:
                self._streams.finish()
                return
        self._all_is_out()

    def _all_is_out(self) -> None:
        self.status = self._last_word
        self._wake()


def _past_sysrq(data: bytes) -> bytes:
    """The bytes to send so that `data` arrives: to Linux's hvc console Ctrl-O begins a SysRq, and two are one."""
    return data.replace(b"\x0f", b"\x0f\x0f")
