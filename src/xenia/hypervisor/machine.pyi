"""The hypervisor: a machine with its memory, and the domains that live in it.

This wires what lies below (memory, page tables, processor, hypercalls, time) into a `Domain` that runs, and offers what
a backend needs of one: a frame as memory, an event channel's other end as a file descriptor, a way to notify.  It knows
no device.  A user wants `xenia.Machine`, which adds them.
"""

from array import array
from collections.abc import Callable

from xenia.domain.build.elf import ElfKernel
from xenia.machine.machine import MachineMemory
from xenia.shutdown import Shutdown

def reserve_processors(nr: int) -> None:
    """Have what the processors of `nr` more domains map of the host, for when no more may be mapped.

    ConfigError when the host does not give it.
    """
    ...

def engine_self_test() -> str:
    """What can run guest code here.  HypervisorBug when one of these is not as this build expects it."""
    ...

class MachineHandle:
    """A machine of `memory` bytes, in which domains are created.

    scatter     seed: hand out frames in random order
    check       debug mode: before every entry, compare what the processor has cached with the page tables; watch the
                order in which locks are taken
    confine     narrow the vcpus' threads to the system calls that they need
    engine      what runs guest code, by its name in cpu/registry
    """
    @property
    def memory(self) -> MachineMemory: ...
    @property
    def check(self) -> bool: ...
    @property
    def confine(self) -> bool: ...
    @property
    def engine(self) -> str: ...
    next_domid: int
    def __init__(
        self, memory: int, scatter: int | None = None, check: bool = False, confine: bool = True, engine: str = ...
    ) -> None: ...
    def create_domain(
        self, kernel: ElfKernel, *, memory: int, ramdisk: bytes = b"", command_line: str = "", warped: bool = False
    ) -> DomainHandle:
        """A domain of `memory` bytes with `kernel` loaded, ready to run.

        Its number is the next that is free, as Xen gives them out: below DOMID_FIRST_RESERVED, and then from 1 again.
        A number is free once nothing of its last domain lives: its object, and frames that others hold by its grants.
        ConfigError when the memory is not to be had or does not suffice for the kernel, or no number is free.
        """
        ...

class DomainHandle:
    """A domain with its vcpu and processor, and the host threads that run it."""
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
    def __init__(self, machine: MachineHandle, domid: int, nr_pages: int, warped: bool) -> None: ...
    def take_memory(self, max_pages: int) -> array[int]:
        """The domain's frames, as zeros, and the two channels of its store and console.

        ConfigError when they are not to be had.
        """
        ...
    def load(self, kernel: ElfKernel, ramdisk: bytes, command_line: str) -> None:
        """Take the memory and build the start of day in it."""
        ...
    def start(self, on_end: Callable[[], object] | None = None) -> None:
        """Run the vcpu on a thread of its own; `on_end()` is called on that thread when it stops for good."""
        ...
    def wait(self, timeout: float | None = None) -> Shutdown | None:
        """Wait for the end; None when `timeout` seconds pass first, or it was stopped from outside."""
        ...
    @property
    def shutdown(self) -> Shutdown | None:
        """How the domain ended, None while it has not."""
        ...
    def stop(self) -> None:
        """Stop the vcpu where it stands, for good, and wait until it has."""
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
        """The vcpu's general registers; those of its last exit while it runs."""
        ...
    @property
    def crash_report(self) -> list[str]:
        """Registers, code, stack and page-table walks of a domain that crashed, line by line."""
        ...
    @property
    def statistics(self) -> dict[str, object]:
        """Counts since the domain was created."""
        ...
    def stale_translations(self) -> list[tuple[int, int, str, bool]]:
        """See Engine.stale_translations.  Precondition: the vcpu does not run."""
        ...
    def audit(self) -> list[str]:
        """Every disagreement between the frame table and what holds the domain's frames.  Precondition: as above."""
        ...
    def destroy(self) -> int:
        """Stop the domain and give its memory back.  The number of frames that others still hold."""
        ...
