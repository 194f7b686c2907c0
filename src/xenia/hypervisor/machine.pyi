"""The hypervisor: a machine with its memory, its domains' numbers, and the timers of its pcpus.

`hypervisor/domain` makes domains in it.  A user wants `xenia.Machine`, which adds a store and devices.

Its memory is not overcommitted: what a domain may have at most (`max_pages`) it gets as soon as it asks for it.  So a
maximum is raised, and a domain created, only where the free frames suffice for what all others may still ask for as
well.  The slack is not promised: it is there for the frames that a kernel has more for a moment, or not.
"""

from xenia.machine.machine import MachineMemory

def reserve_processors(nr: int, engine: str = ...) -> None:
    """Have what `nr` more processors of that engine take of the host, for when no more may be mapped or started.

    ConfigError when the host does not give it.
    """
    ...

def engine_self_test(name: str = ...) -> str:
    """How that engine runs guest code here.  HypervisorBug where it is not as this build expects it; ConfigError where
    the host does not let it."""
    ...

class MachineHandle:
    """A machine of `memory` bytes, in which domains are created.

    scatter     seed: hand out frames in random order
    check       debug mode: before every entry, compare what the processor has cached with the page tables; watch the
                order in which locks are taken
    confine     narrow the vcpus' threads to the system calls that they need
    engine      what runs guest code, by its name in cpu/registry
    scheduler   "credit2": its domains share `pcpus` host threads (None: as many as the host has processors for this
                process) by their weights; "null": each vcpu has a thread of its own, which the host's scheduler places
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
    @property
    def scheduler(self) -> str: ...
    def __init__(
        self,
        memory: int,
        scatter: int | None = None,
        check: bool = False,
        confine: bool = True,
        engine: str = ...,
        scheduler: str = "null",
        pcpus: int | None = None,
    ) -> None: ...
    @property
    def nr_pcpus(self) -> int:
        """How many host threads run vcpus; 0 where each has one of its own."""
        ...
    def reserve_domid(self) -> int:
        """The next domain number that is free, as Xen gives them out: below DOMID_FIRST_RESERVED, and then from 1
        again.  It is the caller's.

        A number is free once nothing of its last domain lives: its object, and frames that others hold by its grants.
        ConfigError when none is.
        """
        ...
    @property
    def nr_left(self) -> int:
        """Frames that no domain has, or may still ask for."""
        ...
