"""A domain's console: what is wired to what, and where the bytes go."""

from __future__ import annotations

from collections.abc import Callable

from xenia.backends.console.device import Console
from xenia.backends.console.persist import ConsoleState
from xenia.backends.console.sink import CallbackSink, FdSink, Sink
from xenia.foreign.foreign import Foreign
from xenia.hypervisor.domain import DomainHandle


def console_of(
    handle: DomainHandle,
    foreign: Foreign,
    sink: Sink,
    log: Callable[[bytes], object] | None = None,
    state: ConsoleState | None = None,
) -> Console:
    """The console of a domain, not served yet.

    log     gets what the domain says to the hypervisor (CONSOLEIO_write)
    state   of the console that goes on in this one
    """
    return Console(
        f"d{handle.domid}", foreign, sink, state, emergency_fd=handle.emergency_fd, log_fd=handle.log_fd, log=log
    )


def sink_of(destination: int | Callable[[bytes], None] | None) -> Sink:
    """Where its output goes: to a file descriptor, or to a function that is called with bytes; None: to nobody."""
    if isinstance(destination, int):
        return FdSink(destination)
    return CallbackSink(destination if destination is not None else _discard)


def _discard(data: bytes) -> None:
    """The console of a guest that nobody listens to."""
