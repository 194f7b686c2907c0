"""Running the tiny guests of guests/ on Xenia."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.peers import Answer
from guests import build as guests
from xenia.backends.console.device import Console
from xenia.backends.console.sink import CallbackSink
from xenia.domain.build.elf import ElfKernel, load_elf
from xenia.foreign.foreign import Service
from xenia.hypervisor.domain import DomainHandle, create_domain
from xenia.hypervisor.foreign import DomainForeign
from xenia.hypervisor.machine import MachineHandle
from xenia.shutdown import Shutdown

ANSWERS = Path(__file__).with_name("answers")
NOT_ASKED = {
    "spin",
    "flood",
    "hog",
    "borrower",
    "sharing",
    "store_page",
    "suspend",
    "suspend_wrong",
    "races",
    "naps",
    "preempted",
    "contended",
    "storm",
}  # they never end, or are not alone


def behaviours() -> list[str]:
    """The guests whose answers are compared with real Xen's."""
    return sorted(path.stem for path in (guests.HERE / "behaviours").glob("*.c") if path.stem not in NOT_ASKED)


def kernel(name: str) -> ElfKernel:
    """A tiny guest, built; the test is skipped where it cannot be."""
    try:
        path = guests.build(name, guests.OUTPUT / name)
    except guests.NoCompiler as missing:
        pytest.skip(str(missing))
    return load_elf(path.read_bytes(), name)


class Running:
    """A tiny guest that runs, with what it wrote so far."""

    def __init__(
        self,
        name: str,
        *,
        memory: int = 16 << 20,
        scatter: int | None = None,
        check: bool = True,
        vcpus: int = 1,
        machine: MachineHandle | None = None,
    ) -> None:
        self.machine = machine or MachineHandle(memory + (16 << 20), scatter, check)
        self.domain: DomainHandle = create_domain(self.machine, kernel(name), memory=memory, vcpus=vcpus)
        self.output = bytearray()
        foreign = DomainForeign(self.domain)
        # Its ring alone, without what it says to the hypervisor: so real Xen's answers were recorded.
        self.console = Console(name, foreign, CallbackSink(self.output.extend))
        self.store = foreign.interface(Service.STORE)  # there, and never answered

    def __enter__(self) -> Running:
        self.console.start()
        self.domain.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.domain.stop()
        self.console.close(10)
        self.store.close()
        self.domain.destroy()

    def answer(self, timeout: float = 60) -> Answer:
        """Wait for the end."""
        shutdown = self.domain.wait(timeout)
        self.domain.stop()
        self.console.close(10)
        lines = self.output.decode().replace("\r", "").rstrip("\n").split("\n")
        return Answer(tuple(lines), _ending(shutdown))


def _ending(shutdown: Shutdown | None) -> str:
    if shutdown is None:
        return "timeout"
    return shutdown.reason.name.lower() if shutdown.code == shutdown.reason else str(shutdown.code)
