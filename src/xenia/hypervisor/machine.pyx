"""The hypervisor: a machine with its memory, its domains' numbers, and the timers of its pcpus.

`hypervisor/domain` makes domains in it.  A user wants `xenia.Machine`, which adds a store and devices.

Its memory is not overcommitted: what a domain may have at most (`max_pages`) it gets as soon as it asks for it.  So a
maximum is raised, and a domain created, only where the free frames suffice for what all others may still ask for as
well.  The slack is not promised: it is there for the frames that a kernel has more for a moment, or not.
"""

import os

cimport cython
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free

from xenia.domain.directory cimport directory_create, directory_reserve
from xenia.domain.domain cimport NR_DOMIDS, Directory, Domain
from xenia.hypervisor.alarm cimport Alarms
from xenia.hypervisor.pcpus cimport PcpuPool
from xenia.machine.lock cimport lock, unlock
from xenia.machine.machine cimport MachineMemory
from xenia.sched.policy cimport MAX_PCPUS

from xenia.cpu.registry import DEFAULT, chosen, engine_kind
from xenia.errors import ConfigError
from xenia.machine.lock import watch_locks


def reserve_processors(nr: int, engine: str = DEFAULT) -> None:
    """Have what `nr` more processors of that engine take of the host, for when no more may be mapped or started.

    ConfigError when the host does not give it.
    """
    if engine_kind(chosen(engine)).load().reserve(nr) < nr:
        raise ConfigError("not enough memory for translated code")


def engine_self_test(name: str = DEFAULT) -> str:
    """How that engine runs guest code here.  HypervisorBug where it is not as this build expects it; ConfigError where
    the host does not let it."""
    return f"{name}, {engine_kind(name).load().self_test()}"


@cython.no_gc_clear     # a domain's end needs all of it
cdef class MachineHandle:
    """A machine of `memory` bytes, in which domains are created.

    scatter     seed: hand out frames in random order
    check       debug mode: before every entry, compare what the processor has cached with the page tables; watch the
                order in which locks are taken
    confine     narrow the vcpus' threads to the system calls that they need
    engine      what runs guest code, by its name in cpu/registry
    scheduler   "credit2": its domains share `pcpus` host threads (None: as many as the host has processors for this
                process) by their weights; "null": each vcpu has a thread of its own, which the host's scheduler places
    """

    def __cinit__(self, memory, scatter=None, check=False, confine=True, engine=DEFAULT, scheduler="null", pcpus=None):
        if check:
            watch_locks(True)
        self.directory = directory_create()
        if self.directory == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.directory)

    def __init__(self, memory: int, scatter: int | None = None, check: bool = False, confine: bool = True,
                 engine: str = DEFAULT, scheduler: str = "null", pcpus: int | None = None) -> None:
        engine = chosen(engine)
        if check and not engine_kind(engine).capabilities.shows_translations:
            raise ConfigError(f"the debug mode needs an engine that shows what it has cached; {engine} does not")
        if scheduler not in ("credit2", "null"):
            raise ConfigError(f"there is no scheduler {scheduler!r}: credit2 or null")
        if pcpus is not None and scheduler == "null":
            raise ConfigError("the null scheduler has a thread for each vcpu: ask for credit2 where pcpus are counted")
        if pcpus is not None and not 1 <= pcpus <= MAX_PCPUS:
            raise ConfigError(f"a machine has 1 to {MAX_PCPUS} pcpus, not {pcpus}")
        self.memory = MachineMemory(memory, scatter)
        self.alarms = Alarms()
        self.engine = engine
        self.check = check
        self.confine = confine
        self.next_domid = 1
        self.scheduler = scheduler
        if scheduler == "credit2":
            processors = len(os.sched_getaffinity(0))
            nr = pcpus or min(processors, MAX_PCPUS)
            self.pool = PcpuPool(self.alarms, scheduler, [f"pcpu{i}" for i in range(nr)], confine, processors > nr)

    @property
    def nr_pcpus(self) -> int:
        """How many host threads run vcpus; 0 where each has one of its own."""
        return len(self.pool.names) if self.pool is not None else 0

    cdef PcpuPool pool_for(self, int domid, int nr_vcpus):
        if self.pool is not None:
            return self.pool
        return PcpuPool(self.alarms, "null", [f"d{domid}v{i}" for i in range(nr_vcpus)], self.confine, False)

    def reserve_domid(self) -> int:
        """The next domain number that is free, as Xen gives them out: below DOMID_FIRST_RESERVED, and then from 1
        again.  It is the caller's.

        A number is free once nothing of its last domain lives: its object, and frames that others hold by its grants.
        ConfigError when none is.
        """
        cdef int domid = self.next_domid
        with nogil:
            domid = directory_reserve(self.directory, domid)
        if domid < 0:
            raise ConfigError("every domain number is taken: destroy a domain, or let go of one that is destroyed")
        self.next_domid = domid + 1
        return domid

    cdef uint64_t left_for(self, Domain *domain) noexcept nogil:
        cdef uint64_t others = promised(self.directory, domain), unused = self.memory.machine.free.count
        return unused - others if unused > others else 0

    @property
    def nr_left(self) -> int:
        """Frames that no domain has, or may still ask for."""
        cdef uint64_t left
        with nogil:
            left = self.left_for(NULL)
        return left


cdef uint64_t promised(Directory *directory, Domain *but) noexcept nogil:
    cdef Domain *domain
    cdef uint64_t total = 0
    cdef uint32_t domid
    lock(&directory.lock)
    for domid in range(NR_DOMIDS):
        domain = directory.domains[domid]
        if domain != NULL and domain != but and domain.memory.max_pages > domain.memory.tot_pages + SLACK_PAGES:
            total += domain.memory.max_pages - SLACK_PAGES - domain.memory.tot_pages
    unlock(&directory.lock)
    return total
