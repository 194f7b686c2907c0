"""A domain that lives in a machine: what lies below (memory, page tables, processor, hypercalls, time), wired into one
that runs.

It knows no device, only what a PV guest is told of at its start: a page and a port each for the store and the console,
which whoever serves them asks for by `hypervisor/foreign`.  What a guest says to Xen itself (CONSOLEIO_write) is no
device's either, and comes out of two pipes: `emergency_fd` until it has used its console's page, `log_fd` from then on.
"""

import os
import threading
from array import array
from collections.abc import Callable

cimport cython
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from posix.unistd cimport close

from xenia.abi.errno cimport XEN_EEXIST
from xenia.cpu.context cimport CONTEXT_FLAGS, CONTEXT_SEGMENTS, RSI, RSP
from xenia.cpu.engine cimport Engine, engine_new
from xenia.domain.audit cimport audit_domain
from xenia.domain.crash cimport crash_report
from xenia.domain.create cimport domain_create, domain_destroy, domain_hold_rings, vcpu_begin_on, vcpu_create
from xenia.domain.directory cimport directory_release, domain_leave
from xenia.domain.domain cimport MAX_VCPUS, SHUTDOWN_NONE, SHUTDOWN_crash, Domain, Vcpu
from xenia.domain.events cimport event_alloc_unbound, event_post
from xenia.domain.pv.exits cimport on_exit
from xenia.domain.time cimport clock_start, system_time, time_update, wallclock_update
from xenia.hypercalls.table cimport guest_pv64
from xenia.hypervisor.astray cimport astray
from xenia.hypervisor.machine cimport SLACK_PAGES, MachineHandle
from xenia.hypervisor.pool cimport (
    Seat, party_begin, party_enter, party_leave, party_pause, party_unpause, party_wait,
)
from xenia.machine.lock cimport lock, locks_disordered, unlock
from xenia.machine.machine cimport MachineMemory
from xenia.mm.pv.descriptors cimport set_gdt
from xenia.sched.policy cimport DEFAULT_WEIGHT, PcpuMask

from xenia.cpu.registry import chosen, engine_kind
from xenia.domain.build.elf import ElfKernel
from xenia.domain.build.start_of_day import build, plan
from xenia.errors import ConfigError, HypervisorBug
from xenia.hypercalls.table import rows
from xenia.jail.jail import confine
from xenia.jail.kinds import Kind
from xenia.machine.lock import check_lock_order
from xenia.machine.thread import HostThread
from xenia.shutdown import Shutdown

cdef enum:
    E820_RAM = 1
    DOM0 = 0            # the remote end of the console's and the store's channel, as a guest sees it


def create_domain(MachineHandle machine, kernel: ElfKernel, *, memory: int, ramdisk: bytes = b"",
                  command_line: str = "", warped: bool = False, vcpus: int = 1, max_vcpus: int | None = None,
                  max_memory: int = 0, engine: str | None = None) -> DomainHandle:
    """A domain of `memory` bytes with `kernel` loaded, ready to run, under the next number that is free.

    It has `max_vcpus` vcpus (None: `vcpus`); the kernel is asked to use the first `vcpus`, and runs on number 0
    until it brings others up.

    max_memory      bytes that it can be given later; its memory map reaches so far.  0: as much as it has
    engine          what runs it (registry.chosen); None: the machine's

    ConfigError when the memory is not to be had or does not suffice for the kernel, or no number is free.
    """
    most = max_vcpus or vcpus
    engine = chosen(engine or machine.engine)
    if most > 1 and not engine_kind(engine).capabilities.siblings:
        raise ConfigError(f"the {engine} engine runs domains of one vcpu, not of {most}")
    domain = DomainHandle(machine, machine.reserve_domid(), memory >> 12, warped, most, engine)
    if max_memory > memory:
        domain.map_memory(max_memory)
    domain.load(kernel, ramdisk, command_line)
    return domain


@cython.no_gc_clear     # the domain's end needs the machine's memory
cdef class DomainHandle:
    """A domain with its vcpus, a processor for each, and the host threads that run them."""

    def __cinit__(self, MachineHandle machine, int domid, uint64_t nr_pages, bint warped, int max_vcpus=1,
                  engine_name: str | None = None):
        cdef Domain *domain = NULL
        cdef Engine engine
        cdef int rc, i
        self.emergency_fd = self.log_fd = -1
        self.machine = machine
        self.domid = domid          # reserved in the directory
        self.nr_pages = nr_pages
        self.threads = []
        self.stale = []
        self.ended = threading.Event()
        if not 1 <= max_vcpus <= MAX_VCPUS:
            raise HypervisorBug(f"a domain with {max_vcpus} vcpus")
        self.max_vcpus = max_vcpus
        self.party.nr = max_vcpus
        self.party.seats = <Seat *>calloc(max_vcpus, sizeof(Seat))
        self.checked = <Checked *>calloc(max_vcpus, sizeof(Checked))
        if self.party.seats == NULL or self.checked == NULL:
            raise MemoryError
        self.engine = engine_name or machine.engine
        self.engines = [engine_new(self.engine, machine.memory) for _ in range(max_vcpus)]
        engine = self.engines[0]
        with nogil:
            rc = domain_create(&domain, machine.memory.machine, machine.directory, domid, guest_pv64(),
                               engine.processor)
        if rc == -XEN_EEXIST:
            raise HypervisorBug(f"domain number {domid} was given out, and somebody has it")
        if rc:
            raise ConfigError("not enough machine memory for one more domain")
        self.domain = domain
        for engine in self.engines[1:]:
            with nogil:
                rc = vcpu_create(domain, engine.processor) == NULL
            if rc:
                raise ConfigError("not enough machine memory for one more vcpu")
        for engine in self.engines:
            engine.processor.on_exit = on_exit
        self.emergency_fd, domain.links.emergency_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.log_fd, domain.links.log_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.pool = machine.pool_for(domid, max_vcpus)
        party_begin(&self.party, &self.pool.pool, domain)
        self.party.sched.weight = DEFAULT_WEIGHT
        for i in range(max_vcpus):
            memset(&self.party.seats[i].sched.hard, 0xff, sizeof(PcpuMask))
            memset(&self.party.seats[i].sched.soft, 0xff, sizeof(PcpuMask))
            if machine.check:
                self.checked[i] = Checked(<void *>self, i)
                self.party.seats[i].check = check_translations
                self.party.seats[i].check_argument = &self.checked[i]
        with nogil:
            clock_start(domain, warped)

    def __dealloc__(self):
        if self.domain == NULL:
            if self.machine is not None:
                directory_release(self.machine.directory, self.domid)
            free(self.party.seats)
            free(self.checked)
            return
        with nogil:
            domain_destroy(self.domain)
        free(self.party.seats)
        free(self.checked)
        for fd in (self.emergency_fd, self.log_fd, self.domain.links.emergency_fd, self.domain.links.log_fd):
            if fd >= 0:
                close(fd)
        domain_leave(self.domain)

    def take_memory(self, max_pages: int) -> array[int]:
        """The domain's frames, as zeros, and the two channels of its store and console.

        ConfigError when they are not to be had.
        """
        cdef Domain *domain = self.domain
        left = self.machine.nr_left
        if self.nr_pages > left:
            raise ConfigError(
                f"not enough machine memory: {self.nr_pages >> 8} MiB asked for, {left >> 8} MiB free")
        frames = self.machine.memory.allocate(self.domid, self.nr_pages)
        domain.memory.tot_pages = self.nr_pages
        domain.memory.max_pages = max_pages
        with nogil:
            domain.rings.store_port = event_alloc_unbound(domain, DOM0)
            domain.rings.console_port = event_alloc_unbound(domain, DOM0)
        return frames

    def map_memory(self, size: int) -> None:
        """What XENMEM_memory_map tells the guest: so many bytes of memory, though it has fewer yet.  Before it runs."""
        cdef Domain *domain = self.domain
        domain.memory_map.nr = 1
        domain.memory_map.entries[0].addr = 0
        domain.memory_map.entries[0].size = size
        domain.memory_map.entries[0].type = E820_RAM

    def set_maximum(self, nr_pages: int) -> None:
        """Let the domain have so many frames, and the slack: it keeps what it has beyond that, and gets no more
        (XEN_DOMCTL_max_mem).

        ConfigError where the machine has not that many for it.
        """
        cdef Domain *domain = self.domain
        cdef uint64_t wanted = nr_pages, most
        with nogil:
            most = self.machine.left_for(domain) + domain.memory.tot_pages
        if wanted > most:
            raise ConfigError(
                f"not enough machine memory: {wanted >> 8} MiB asked for, {most >> 8} MiB can be had")
        with nogil:
            lock(&domain.memory.lock)
            domain.memory.max_pages = wanted + SLACK_PAGES
            unlock(&domain.memory.lock)

    def load(self, kernel: ElfKernel, ramdisk: bytes, command_line: str) -> None:
        """Take the memory and build the start of day in it."""
        cdef Domain *domain = self.domain
        cdef Vcpu *vcpu = domain.vcpus[0]
        cdef MachineMemory memory = self.machine.memory
        cdef uint64_t root
        cdef int rc
        cdef uint32_t i
        where = plan(kernel, len(ramdisk), self.nr_pages)
        frames = self.take_memory(self.nr_pages + SLACK_PAGES)
        start = build(
            kernel, where, frames, memoryview(memory), memory.m2p,
            ramdisk=ramdisk, command_line=command_line, shared_info_maddr=domain.shared_info_mfn << 12,
            store_port=domain.rings.store_port, console_port=domain.rings.console_port,
        )
        domain.rings.store_mfn = start.store_mfn
        domain.rings.console_mfn = start.console_mfn
        domain.is_linux = kernel.notes.guest_os == "linux"
        root = start.root_mfn
        with nogil:
            rc = vcpu_begin_on(vcpu, root) or domain_hold_rings(domain)
            set_gdt(&domain.mmu, &vcpu.mmu, NULL, 0)
        if rc:
            raise HypervisorBug(f"the start of day does not validate: errno {-rc}")
        vcpu.context.rip = start.rip
        vcpu.context.gpr[<int>RSP] = start.rsp
        vcpu.context.gpr[<int>RSI] = start.rsi
        vcpu.context.rflags = start.rflags | 2
        vcpu.context.cs = start.cs
        vcpu.context.ss = start.ss
        vcpu.context.kernel = True
        vcpu.context.dirty = CONTEXT_FLAGS | CONTEXT_SEGMENTS
        vcpu.traps.kernel_sp = start.rsp
        vcpu.initialised = vcpu.is_up = True
        wallclock_update(domain)
        for i in range(domain.nr_vcpus):
            time_update(domain.vcpus[i])

    # --- running ---

    def start(self, on_end: Callable[[], object] | None = None) -> None:
        """Let the vcpus run; `on_end()` is called when all have stopped for good, on a thread that waits for that."""
        cdef bint seated = False
        if self.threads:
            raise RuntimeError("a domain starts once")
        self.on_end = on_end
        self.failure = None
        try:
            self.pool.hold()
        except BaseException:
            self.on_end = None
            self.ended.set()
            raise
        try:
            self.threads = [HostThread(self._keep, f"d{self.domid}", None)]
            with nogil:
                seated = party_enter(&self.party)
            if not seated:
                raise self.pool.failure or MemoryError("there is no memory to schedule the domain's vcpus")
            self.threads[0].start()
        except BaseException:
            if seated:
                self.domain.links.stop = 1
                with nogil:
                    party_leave(&self.party)
                    party_wait(&self.party)
            self.on_end = None
            self.finish()
            raise

    def _keep(self) -> None:
        try:
            confine(Kind.VCPU)
        except BaseException as failure:
            self.failure = failure
            self.domain.links.stop = 1
            with nogil:
                party_leave(&self.party)
        with nogil:
            party_wait(&self.party)
        self.finish()

    cdef finish(self):
        # None of its vcpus runs any more.
        try:
            self.pool.drop()
            if self.pool.failure is not None:
                raise self.pool.failure
            # while its memory is still there
            if self.domain.life.shutdown == SHUTDOWN_crash or self.domain.life.crash_reason[0]:
                self.report = crash_report(self.domain)
            check_lock_order()
            if self.stale:
                raise HypervisorBug(
                    f"the processor holds translations that the page tables do not give: {self.stale[:4]}")
        except BaseException as failure:
            self.failure = failure
        finally:
            self.ended.set()
            if self.on_end is not None:
                self.on_end()

    def wait(self, timeout: float | None = None) -> Shutdown | None:
        """Wait for the end; None when `timeout` seconds pass first, or it was stopped from outside."""
        if not self.ended.wait(timeout):
            return None
        if self.failure is not None:
            raise self.failure
        return self.shutdown

    @property
    def shutdown(self) -> Shutdown | None:
        """How the domain ended, None while it has not."""
        if self.domain.life.shutdown == SHUTDOWN_NONE:
            return None
        return Shutdown.of(self.domain.life.shutdown, self.domain.life.crash_reason.decode("utf-8", "replace"),
                           halted=bool(self.domain.life.halted))

    def stop(self) -> None:
        """Stop the vcpus where they stand, for good, and wait until they have."""
        self.domain.links.stop = 1
        with nogil:
            party_leave(&self.party)
        for thread in self.threads:
            if thread is not threading.current_thread():
                thread.end()

    def pause(self) -> None:
        """None of the vcpus runs when it returns, until they may again."""
        self.paused = True
        with nogil:
            party_pause(&self.party)

    def unpause(self) -> None:
        """They go on."""
        self.paused = False
        with nogil:
            party_unpause(&self.party)

    # --- what backends need ---

    def page(self, mfn: int) -> memoryview:
        """Machine frame `mfn` as writable memory."""
        return memoryview(self.machine.memory)[mfn << 12:(mfn + 1) << 12]

    @property
    def store_port(self) -> int:
        """The guest's end of the xenstore channel."""
        return self.domain.rings.store_port

    @property
    def console_port(self) -> int:
        """The guest's end of the console channel."""
        return self.domain.rings.console_port

    @property
    def store_mfn(self) -> int:
        """The frame of the xenstore ring."""
        return self.domain.rings.store_mfn

    @property
    def console_mfn(self) -> int:
        """The frame of the console ring."""
        return self.domain.rings.console_mfn

    def notify(self, port: int) -> None:
        """Send the event that the guest has bound to `port`; from any thread."""
        cdef uint32_t number = port
        with nogil:
            event_post(self.domain, number)

    # --- looking in ---

    @property
    def system_time(self) -> int:
        """Virtual time in ns since the domain was created."""
        return system_time(self.domain)

    @property
    def registers(self) -> dict[str, int]:
        """The first vcpu's general registers; those of its last exit while it runs."""
        return self.registers_of(0)

    def registers_of(self, vcpu: int) -> dict[str, int]:
        """The same of any vcpu.  IndexError where it has no such vcpu."""
        if not 0 <= vcpu < self.max_vcpus:
            raise IndexError(f"the domain has no vcpu {vcpu}")
        cdef Vcpu *it = self.domain.vcpus[<int>vcpu]
        names = "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15".split()
        registers = {name: it.context.gpr[i] for i, name in enumerate(names)}
        return registers | {"rip": it.context.rip, "rflags": it.context.rflags}

    @property
    def crash_report(self) -> list[str]:
        """Registers, code, stack and page-table walks of a domain that crashed, line by line."""
        return list(self.report or ())

    @property
    def statistics(self) -> dict[str, object]:
        """Counts since the domain was created, of all its vcpus."""
        cdef int i, vcpu
        cdef dict names = {row.number: row.name for row in rows()}
        hypercalls = [0] * 64
        exceptions = [0] * 32
        for vcpu in range(self.max_vcpus):
            for i in range(64):
                hypercalls[i] += self.domain.vcpus[vcpu].counts.hypercalls[i]
            for i in range(32):
                exceptions[i] += self.domain.vcpus[vcpu].counts.exceptions[i]
        processors = [engine.statistics for engine in self.engines]
        return {
            "hypercalls": {names.get(i, str(i)): count for i, count in enumerate(hypercalls) if count},
            "exceptions": {i: count for i, count in enumerate(exceptions) if count},
            "mmu_updates": self.domain.mmu.nr_mmu_updates,
            "page_table_writes": self.domain.mmu.nr_ptwr,
            "entries": sum(self.party.seats[vcpu].nr_entries for vcpu in range(self.max_vcpus)),
            "idle": sum(self.party.seats[vcpu].nr_idle for vcpu in range(self.max_vcpus)),
            "frames": self.domain.memory.tot_pages,
            **{name: sum(each[name] for each in processors) for name in processors[0]},
        }

    def stale_translations(self) -> list[tuple[int, int, str, bool]]:
        """See Engine.stale_translations, of all vcpus.  Precondition: none of them runs."""
        return [stale for engine in self.engines for stale in engine.stale_translations()]

    def audit(self) -> list[str]:
        """Every disagreement between the frame table and what holds the domain's frames.  Precondition: as above."""
        return audit_domain(self.domain)

    def destroy(self) -> int:
        """Stop the domain and give its memory back.  The number of frames that others still hold."""
        cdef uint64_t left
        self.stop()
        self.on_end = None      # who looks after the domain knows it, too: neither keeps the other now
        with nogil:
            left = domain_destroy(self.domain)
        return left


cdef int check_translations(void *opaque) noexcept with gil:
    cdef Checked *checked = <Checked *>opaque
    cdef DomainHandle domain = <DomainHandle>checked.handle
    domain.stale += [(checked.number, *one) for one in astray(domain.domain, domain.engines[checked.number])]
    return 1 if domain.stale or locks_disordered() else 0
