"""A domain's console: what is wired to what, and where the bytes go."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from xenia.backends.console.device import Console
from xenia.backends.console.persist import ConsoleState
from xenia.backends.console.sink import CallbackSink, FdSink
from xenia.backends.console.transcript import Pattern, Transcript
from xenia.foreign.foreign import Foreign
from xenia.hypervisor.domain import DomainHandle
from xenia.toolstack.config import values
from xenia.toolstack.config.values import Given, given


class Dialogue(Given, ABC):
    """What one says to a guest on its console, and waits to hear."""

    transcript: Transcript

    @abstractmethod
    @given(data=values.octets)
    def send(self, data: bytes) -> None:
        """Give the guest input, waiting where it is slow to take it."""

    @abstractmethod
    @given(data=values.octets)
    def offer(self, data: bytes) -> int:
        """Give the guest input without waiting; how many of the bytes there was room for."""

    @given(line=values.text)
    def sendline(self, line: str = "") -> None:
        """Type a line."""
        self.send(line.encode() + b"\n")

    @given(pattern=values.pattern, timeout=values.seconds)
    def expect(self, pattern: Pattern, timeout: float | None = 30.0) -> re.Match[Any]:
        """Wait until the guest has said what a regular expression finds, and answer the match (of str, or of bytes for
        a pattern of bytes).  It begins behind what the last `expect` found, and reads up to the end of what it finds;
        `match.string` is all that it has looked at.

        TimeoutError after so many seconds (None: never); EOFError where the guest ends without it.  Both tell the last
        that it said.
        """
        return self.transcript.expect(pattern, timeout)

    @property
    def text(self) -> str:
        """What the guest has said on it, the newest 256 KiB."""
        return self.transcript.text


class DomainConsole(Console, Dialogue):
    """The console of a domain of this process."""

    transcript: Transcript

    @given(data=values.octets)
    def send(self, data: bytes) -> None:
        super().send(data)

    @given(data=values.octets)
    def offer(self, data: bytes) -> int:
        return super().offer(data)


def console_of(
    handle: DomainHandle,
    foreign: Foreign,
    sink: Transcript,
    log: Callable[[bytes], object] | None = None,
    state: ConsoleState | None = None,
) -> DomainConsole:
    """The console of a domain, not served yet.

    log     gets what the domain says to the hypervisor (CONSOLEIO_write)
    state   of the console that goes on in this one
    """
    console = DomainConsole(
        f"d{handle.domid}", foreign, sink, state, emergency_fd=handle.emergency_fd, log_fd=handle.log_fd, log=log
    )
    console.transcript = sink
    sink.begin()
    return console


def sink_of(destination: int | Callable[[bytes], None] | None) -> Transcript:
    """Where its output goes: to a file descriptor, or to a function that is called with bytes; None: to nobody.  It is
    kept as well."""
    if isinstance(destination, int):
        return Transcript(FdSink(destination))
    return Transcript(CallbackSink(destination if destination is not None else _discard))


def _discard(data: bytes) -> None:
    """The console of a guest that nobody listens to."""
