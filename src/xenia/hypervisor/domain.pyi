"""A domain that lives in a machine: what lies below (memory, page tables, processor, hypercalls, time), wired into one
that runs.

It knows no device, only what a PV guest is told of at its start: a page and a port each for the store and the console,
which whoever serves them asks for by `hypervisor/foreign`.  What a guest says to Xen itself (CONSOLEIO_write) is no
device's either, and comes out of two pipes: `emergency_fd` until it has used its console's page, `log_fd` from then on.
"""

from array import array
from collections.abc import Callable

from xenia.domain.build.elf import ElfKernel
from xenia.hypervisor.machine import MachineHandle
from xenia.shutdown import Shutdown

def create_domain(
    machine: MachineHandle,
    kernel: ElfKernel,
    *,
    memory: int,
    ramdisk: bytes = b"",
    command_line: str = "",
    warped: bool = False,
    vcpus: int = 1,
    max_vcpus: int | None = None,
    max_memory: int = 0,
    engine: str | None = None,
) -> DomainHandle:
    """A domain of `memory` bytes with `kernel` loaded, ready to run, under the next number that is free.

    It has `max_vcpus` vcpus (None: `vcpus`); the kernel is asked to use the first `vcpus`, and runs on number 0
    until it brings others up.

    max_memory      bytes that it can be given later; its memory map reaches so far.  0: as much as it has
    engine          what runs it (registry.chosen); None: the machine's

    ConfigError when the memory is not to be had or does not suffice for the kernel, or no number is free.
    """
    ...

class DomainHandle:
    """A domain with its vcpus, a processor for each, and the host threads that run them."""
    @property
    def machine(self) -> MachineHandle: ...
    @property
    def domid(self) -> int: ...
    @property
    def emergency_fd(self) -> int: ...
    @property
    def log_fd(self) -> int: ...
    @property
    def nr_pages(self) -> int: ...
    @property
    def max_vcpus(self) -> int: ...
    @property
    def engine(self) -> str: ...
    @property
    def paused(self) -> bool: ...
    def __init__(
        self,
        machine: MachineHandle,
        domid: int,
        nr_pages: int,
        warped: bool,
        max_vcpus: int = 1,
        engine_name: str | None = None,
    ) -> None: ...
    def take_memory(self, max_pages: int) -> array[int]:
        """The domain's frames, as zeros, and the two channels of its store and console.

        ConfigError when they are not to be had.
        """
        ...
    def map_memory(self, size: int) -> None:
        """What XENMEM_memory_map tells the guest: so many bytes of memory, though it has fewer yet.  Before it runs."""
        ...
    def set_maximum(self, nr_pages: int) -> None:
        """Let the domain have so many frames, and the slack: it keeps what it has beyond that, and gets no more
        (XEN_DOMCTL_max_mem).

        ConfigError where the machine has not that many for it.
        """
        ...
    def load(self, kernel: ElfKernel, ramdisk: bytes, command_line: str) -> None:
        """Take the memory and build the start of day in it."""
        ...
    def start(self, on_end: Callable[[], object] | None = None) -> None:
        """Let the vcpus run; `on_end()` is called when all have stopped for good, on a thread that waits for that."""
        ...
    def wait(self, timeout: float | None = None) -> Shutdown | None:
        """Wait for the end; None when `timeout` seconds pass first, or it was stopped from outside."""
        ...
    @property
    def shutdown(self) -> Shutdown | None:
        """How the domain ended, None while it has not."""
        ...
    def stop(self) -> None:
        """Stop the vcpus where they stand, for good, and wait until they have."""
        ...
    def pause(self) -> None:
        """None of the vcpus runs when it returns, until they may again."""
        ...
    def unpause(self) -> None:
        """They go on."""
        ...
    def page(self, mfn: int) -> memoryview:
        """Machine frame `mfn` as writable memory."""
        ...
    @property
    def store_port(self) -> int:
        """The guest's end of the xenstore channel."""
        ...
    @property
    def console_port(self) -> int:
        """The guest's end of the console channel."""
        ...
    @property
    def store_mfn(self) -> int:
        """The frame of the xenstore ring."""
        ...
    @property
    def console_mfn(self) -> int:
        """The frame of the console ring."""
        ...
    def notify(self, port: int) -> None:
        """Send the event that the guest has bound to `port`; from any thread."""
        ...
    @property
    def system_time(self) -> int:
        """Virtual time in ns since the domain was created."""
        ...
    @property
    def registers(self) -> dict[str, int]:
        """The first vcpu's general registers; those of its last exit while it runs."""
        ...
    def registers_of(self, vcpu: int) -> dict[str, int]:
        """The same of any vcpu.  IndexError where it has no such vcpu."""
        ...
    @property
    def crash_report(self) -> list[str]:
        """Registers, code, stack and page-table walks of a domain that crashed, line by line."""
        ...
    @property
    def statistics(self) -> dict[str, object]:
        """Counts since the domain was created, of all its vcpus."""
        ...
    def stale_translations(self) -> list[tuple[int, int, str, bool]]:
        """See Engine.stale_translations, of all vcpus.  Precondition: none of them runs."""
        ...
    def audit(self) -> list[str]:
        """Every disagreement between the frame table and what holds the domain's frames.  Precondition: as above."""
        ...
    def destroy(self) -> int:
        """Stop the domain and give its memory back.  The number of frames that others still hold."""
        ...
