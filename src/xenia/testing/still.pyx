"""A domain whose vcpu stands still: memory, page tables, events and time are real, the processor only takes notes.

For tests that make hypercalls from outside, one at a time or by the hundred thousand (fuzzer.pyx).  Its kernel maps
PAGES data pages writable at BASE and, read-only after them, its own four page tables.  Host clock and TSC are the
test's to move (`advance`).
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from xenia.cpu.context cimport R8, R9, R10, RAX, RDI, RDX, RSI, Context
from xenia.cpu.processor cimport LEAVE, Processor
from xenia.domain.audit cimport audit_domain
from xenia.domain.channels cimport event_channel
from xenia.domain.create cimport domain_create, domain_destroy, vcpu_create
from xenia.domain.directory cimport domain_leave
from xenia.domain.events cimport (
    event_alloc_unbound, event_connect, event_disconnect, event_ignore, event_listen, event_post, event_set_pending,
    events_apply_mailbox,
)
from xenia.domain.time cimport clock_warp_to, runstate_change, system_time, timers_fire, timers_next
from xenia.hypercalls.table cimport HYPERCALL_CONTINUE, HYPERCALL_DONE, guest_pv64, hypercall64, hypercall_call
from xenia.hypervisor.machine cimport MachineHandle
from xenia.machine.machine cimport MachineMemory
from xenia.testing.lock cimport Asker, asker
from xenia.testing.recorder cimport TSC_PER_US, RecordingProcessor
from xenia.testing.still_build cimport (
    CONSOLE_PAGE, NR_PAGES, SLOT, STORE_PAGE, count_wake, still_begin_vcpu, still_build, still_restore, still_save,
    still_take_memory, told_to_wait, wake_by_fd,
)

from xenia.testing.saved import SavedStill

PAGES = NR_PAGES
STORE, CONSOLE = STORE_PAGE, CONSOLE_PAGE
BASE = 0xffff888000000000
L4_SLOT = SLOT

CONTINUE = <int64_t>HYPERCALL_CONTINUE
DONE = <int64_t>HYPERCALL_DONE


@cython.no_gc_clear     # its end needs the machine's memory
cdef class StillDomain:
    """One domain of 36 frames on `memory` bytes of machine memory of its own; `spare` more frames are its to ask for.

    Data pages STORE and CONSOLE are the rings of the store and the console: held, as by their backends.

    beside      a domain on whose machine it is to be
    saved       what `save` answered: it goes on as that one, of the same size, under the same frame numbers
    """

    def __cinit__(self, domid: int = 1, memory: int = 1 << 20, spare: int = 16, warped: bool = False,
                  beside: StillDomain | None = None, saved: SavedStill | None = None):
        cdef int rc
        self.home = MachineHandle(memory) if beside is None else (<StillDomain>beside).home
        self.memory = self.home.memory
        self.processor = RecordingProcessor()
        self.processor.attach(self.memory.machine)
        rc = domain_create(&self.domain, self.memory.machine, self.home.directory, domid, guest_pv64(),
                           &self.processor.state.processor)
        if rc:
            raise ValueError(f"there can be no domain {domid}: errno {-rc}")

    def __init__(self, domid: int = 1, memory: int = 1 << 20, spare: int = 16, warped: bool = False,
                 beside: StillDomain | None = None, saved: SavedStill | None = None) -> None:
        still_take_memory(self.domain, self.frames, spare)
        if saved is None:
            still_build(self.domain, &self.processor.state, self.frames, warped)
        else:
            for _ in saved.vcpus[1:]:
                self.create_vcpu()
            still_restore(self.domain, &self.processor.state, self.frames, saved)

    def save(self) -> SavedStill:
        """All its nouns."""
        return still_save(self.domain, &self.processor.state)

    def __dealloc__(self):
        if self.domain != NULL:
            with nogil:
                domain_destroy(self.domain)
            domain_leave(self.domain)

    # --- memory

    def mfn(self, page: int) -> int:
        """The machine frame of data page `page` (from PAGES on: the L1, L2, L3 and L4 table)."""
        return self.frames[<int>page]

    def write(self, va: int, data: bytes) -> None:
        """Put bytes into data pages."""
        offset = va - BASE
        while data:
            room = 4096 - offset % 4096
            place = self.frames[<int>(offset >> 12)] * 4096 + offset % 4096
            memoryview(self.memory)[place:place + len(data[:room])] = data[:room]
            data, offset = data[room:], offset + room

    def read(self, va: int, length: int) -> bytes:
        """Bytes of data pages (within one page)."""
        place = self.frames[<int>((va - BASE) >> 12)] * 4096 + (va - BASE) % 4096
        return bytes(memoryview(self.memory)[place:place + length])

    def machine_read(self, mfn: int, offset: int, length: int) -> bytes:
        """Bytes of any machine frame."""
        return bytes(memoryview(self.memory)[mfn * 4096 + offset:mfn * 4096 + offset + length])

    @property
    def asker(self) -> Asker:
        """Somebody else who wants its lock."""
        return asker(self, &self.domain.memory.lock)

    @property
    def machine_asker(self) -> Asker:
        """Somebody who wants machine memory."""
        return asker(self, &self.memory.machine.lock)

    @property
    def directory_asker(self) -> Asker:
        """Somebody who wants to know who is there."""
        return asker(self, &self.domain.directory.lock)

    @property
    def machine(self) -> MachineMemory:
        """Its machine memory."""
        return self.memory

    def frame(self, mfn: int) -> tuple[int, int, int, int]:
        """References, type references, type and owner of a frame."""
        cdef uint64_t number = mfn
        frame = &self.memory.machine.frames[number]
        return frame.refs, frame.type_refs, frame.type, frame.owner

    @property
    def tot_pages(self) -> int:
        """Frames it has."""
        return self.domain.memory.tot_pages

    def audit(self) -> list[str]:
        """Every disagreement between the frame table and what holds frames."""
        return audit_domain(self.domain)

    def destroy(self) -> int:
        """End it as the toolstack does; how many of its frames others still hold."""
        cdef uint64_t left
        with nogil:
            left = domain_destroy(self.domain)
        return left

    def add_vcpu(self, begun: bool = True) -> int:
        """One vcpu more, down, on the first one's page tables, or not initialised; its number."""
        cdef Vcpu *vcpu = self.create_vcpu()
        vcpu.wake = count_wake
        vcpu.wake_argument = &self.nr_wakes[vcpu.id]
        if begun and still_begin_vcpu(vcpu):
            raise AssertionError("the page tables do not validate")
        return vcpu.id

    cdef Vcpu *create_vcpu(self) except NULL:
        cdef RecordingProcessor processor = RecordingProcessor()
        cdef Vcpu *vcpu
        processor.attach(self.memory.machine)
        processor.state.host_ns = self.processor.state.host_ns
        vcpu = vcpu_create(self.domain, &processor.state.processor)
        if vcpu == NULL:
            raise ValueError("there can be no vcpu more")
        self.more_processors = [*(self.more_processors or ()), processor]
        return vcpu

    def wakes(self, vcpu: int) -> int:
        """How often a vcpu was woken, whose pcpu has nothing to run."""
        return self.nr_wakes[<int>vcpu]

    def kicks_of(self, vcpu: int) -> int:
        """How often a vcpu's processor was kicked."""
        return self.recorder(vcpu).state.kicks

    def run_on(self, vcpu: int) -> None:
        """`call` is that vcpu's from here on."""
        self.running = vcpu

    def notes(self, vcpu: int) -> list[tuple[str | int, ...]]:
        """What the processor of a vcpu was told (RecordingProcessor.notes)."""
        return self.recorder(vcpu).notes

    cdef RecordingProcessor recorder(self, int vcpu):
        return self.processor if vcpu == 0 else self.more_processors[vcpu - 1]

    # --- hypercalls

    def call(self, number: int, *arguments: int) -> int:
        """Make one hypercall: its result, CONTINUE or DONE."""
        cdef uint64_t args[6]
        cdef uint64_t index = number
        cdef int64_t result
        self.load(args, arguments)
        with nogil:
            result = hypercall_call(self.domain.vcpus[self.running], index, args)
        return result

    cdef load(self, uint64_t *args, arguments):
        cdef int i
        memset(args, 0, 6 * sizeof(uint64_t))
        for i, value in enumerate(arguments):
            args[i] = <uint64_t>(value & 0xffffffffffffffff)

    def syscall(self, number: int, *arguments: int) -> bool:
        """The same through the registers, rip at 0x1002 past a `syscall`; whether the vcpu leaves the processor for
        it."""
        cdef Context *context = &self.domain.vcpus[0].context
        cdef uint64_t args[6]
        self.load(args, arguments)
        context.gpr[RAX] = number
        context.gpr[RDI], context.gpr[RSI], context.gpr[RDX] = args[0], args[1], args[2]
        context.gpr[R10], context.gpr[R8], context.gpr[R9] = args[3], args[4], args[5]
        context.rip = 0x1002
        return hypercall64(self.domain.vcpus[0]) == LEAVE

    @property
    def registers(self) -> dict[str, int]:
        """rax, the six argument registers and rip."""
        cdef Context *context = &self.domain.vcpus[0].context
        return {"rax": context.gpr[RAX], "rdi": context.gpr[RDI], "rsi": context.gpr[RSI], "rdx": context.gpr[RDX],
                "r10": context.gpr[R10], "r8": context.gpr[R8], "r9": context.gpr[R9], "rip": context.rip}

    def count(self, number: int) -> int:
        """How often a hypercall was made."""
        return self.domain.vcpus[0].counts.hypercalls[<int>number]

    # --- events

    @property
    def pending(self) -> set[int]:
        """Ports whose pending bit in shared_info is set."""
        return {port for port in range(4096) if self.domain.shared_info.evtchn_pending[port >> 6] >> (port & 63) & 1}

    def acknowledge(self, port: int) -> None:
        """Clear what the guest clears when it handles a port."""
        cdef int number = port
        self.domain.shared_info.evtchn_pending[number >> 6] &= ~(<uint64_t>1 << (number & 63))
        self.domain.vcpus[0].info.evtchn_pending_sel = 0
        self.acknowledge_upcall()

    def acknowledge_upcall(self) -> None:
        """Clear vcpu_info.evtchn_upcall_pending."""
        self.domain.vcpus[0].info.evtchn_upcall_pending = 0

    def mask(self, port: int) -> None:
        """Mask a port, as the guest does."""
        cdef int number = port
        self.domain.shared_info.evtchn_mask[number >> 6] |= <uint64_t>1 << (number & 63)

    @property
    def upcall_pending(self) -> bool:
        """vcpu_info.evtchn_upcall_pending."""
        return self.domain.vcpus[0].info.evtchn_upcall_pending

    @property
    def upcall_mask(self) -> bool:
        """vcpu_info.evtchn_upcall_mask."""
        return self.domain.vcpus[0].info.evtchn_upcall_mask

    @upcall_mask.setter
    def upcall_mask(self, value: bool) -> None:
        self.domain.vcpus[0].info.evtchn_upcall_mask = value

    @property
    def pending_sel(self) -> int:
        """vcpu_info.evtchn_pending_sel."""
        return self.domain.vcpus[0].info.evtchn_pending_sel

    def set_pending(self, port: int) -> None:
        """Raise a port from the domain's own thread."""
        event_set_pending(self.domain, port)

    def post(self, port: int) -> None:
        """Raise a port as any other thread does."""
        cdef uint32_t number = port
        with nogil:
            event_post(self.domain, number)

    def apply_mailbox(self) -> None:
        """What the domain's thread does before it enters the guest."""
        events_apply_mailbox(self.domain)

    def open_channel(self, remote_domid: int, remote_port: int, notify_fd: int) -> int:
        """A channel to Xenia itself, left unbound and connected; the port or a negative errno."""
        cdef int64_t port = event_alloc_unbound(self.domain, remote_domid)
        if port > 0:
            event_channel(self.domain, port).remote_port = remote_port
            event_connect(self.domain, port, remote_domid, notify_fd)
        return port

    def connect_channel(self, port: int, remote_domid: int, notify_fd: int) -> int:
        """A backend binds to a port the guest left unbound: 0 or a negative errno."""
        return event_connect(self.domain, port, remote_domid, notify_fd)

    def listen_channel(self, port: int, notify_fd: int, back: bool) -> bool:
        """Count the events of a connected port where they are sent, and send one `back` for each."""
        self.listener.answer = heard
        self.listener.argument = <void *>self
        self.sends_back = back
        return event_listen(self.domain, port, notify_fd, &self.listener)

    cdef bint hear(self) noexcept nogil:
        self.nr_heard += 1
        return self.sends_back

    def disconnect_channel(self, port: int, notify_fd: int) -> None:
        """The backend lets go of a port."""
        event_disconnect(self.domain, port, notify_fd)

    def ignore_channel(self, port: int) -> None:
        """Count them no more."""
        event_ignore(self.domain, port, &self.listener)

    @property
    def kicks(self) -> int:
        """How often its processor was kicked."""
        return self.processor.state.kicks

    @property
    def preempt(self) -> bool:
        """Somebody wants it off the processor."""
        return self.domain.vcpus[0].preempt

    @preempt.setter
    def preempt(self, value: bool) -> None:
        self.domain.vcpus[0].preempt = value

    def set_wake_fd(self, fd: int, vcpu: int = 0) -> None:
        """The eventfd that wakes a vcpu, which sleeps."""
        cdef Vcpu *sleeper = self.domain.vcpus[<int>vcpu]
        self.wake_fd = fd
        sleeper.wake = wake_by_fd
        sleeper.wake_argument = &self.wake_fd

    # --- time and scheduling

    def advance(self, ns: int) -> None:
        """Let the host's clock and TSC go on."""
        self.processor.state.host_ns += <uint64_t>ns

    def drift(self, ns: int) -> None:
        """Let the TSC gain that much on the host's clock."""
        self.processor.state.inside.tsc_offset += <int64_t>(ns * TSC_PER_US // 1000)

    def fire(self) -> None:
        """What the run loop does when it comes round."""
        timers_fire(self.domain.vcpus[0], system_time(self.domain))

    def warp_to(self, when: int) -> None:
        """Jump to a moment of system time."""
        clock_warp_to(self.domain, when)

    @property
    def now(self) -> int:
        """System time in ns."""
        return system_time(self.domain)

    @property
    def tsc(self) -> int:
        """What the guest's rdtsc reads."""
        return self.tsc_on(0)

    def tsc_on(self, vcpu: int) -> int:
        """What it reads on a vcpu."""
        cdef Processor *processor = self.domain.vcpus[<int>vcpu].processor
        return processor.ops.read_tsc(processor)

    @property
    def next_timer(self) -> int:
        """Earliest deadline; 0 none."""
        return timers_next(self.domain.vcpus[0])

    @property
    def time_info(self) -> bytes:
        """The 32 bytes of vcpu_time_info."""
        return (<char *>&self.domain.vcpus[0].info.time)[:32]

    @property
    def shared_info(self) -> bytes:
        """The shared_info page."""
        return (<char *>self.domain.shared_info)[:4096]

    def runstate(self, state: int) -> None:
        """The run loop moves the vcpu to another RUNSTATE_*."""
        runstate_change(self.domain.vcpus[0], state, system_time(self.domain))

    def push_off(self, ns: int) -> None:
        """Somebody else has had its pcpu for so many ns, for which it could have run."""
        self.waits_since = self.processor.state.host_ns - <uint64_t>ns
        self.domain.vcpus[0].wake_argument = &self.waits_since
        self.domain.vcpus[0].waits_since = told_to_wait

    @property
    def blocked(self) -> bool:
        """The vcpu sleeps."""
        return self.domain.vcpus[0].blocked

    @blocked.setter
    def blocked(self, value: bool) -> None:
        self.domain.vcpus[0].blocked = value

    @property
    def yielded(self) -> bool:
        """The vcpu gave up its turn."""
        return self.domain.vcpus[0].yielded

    @property
    def nmi_pending(self) -> bool:
        """An NMI waits."""
        return self.domain.vcpus[0].traps.nmi_pending

    @property
    def iopl(self) -> int:
        """I/O privilege level of its kernel's user mode."""
        return self.domain.vcpus[0].ports.iopl

    @property
    def vm_assist(self) -> int:
        """Assists that are on."""
        return self.domain.vm_assist

    @property
    def shutdown(self) -> int:
        """SHUTDOWN_*; -1 while it lives."""
        return self.domain.life.shutdown

    def set_emergency_fd(self, fd: int) -> None:
        """Where console_io writes."""
        self.domain.links.emergency_fd = fd

    def set_handle(self, handle: bytes) -> None:
        """Its UUID."""
        memcpy(self.domain.handle, <const uint8_t *>handle, 16)


cdef bint heard(void *domain) noexcept nogil:
    return (<StillDomain>domain).hear()
