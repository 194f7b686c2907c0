"""A domain that is nothing but memory: frames, page tables and descriptor tables, with a recording processor.

It starts as a PV kernel does.  Every one of its frames is mapped at BASE + 4096 * pfn: the first four, which are the
L4, L3, L2 and L1 of that mapping, read-only, the others writable.  Frames REQUESTS to REQUESTS + 3 hold the arguments
of its hypercalls.

There is no Domain around it, and so neither domain_create nor domain_destroy: the rules of mm/ are tried with nothing
but mm/, which knows no domain.  What is tried with one stands still (still.pyx).
"""

import threading
from array import array
from collections.abc import Callable, Sequence
from typing import NamedTuple

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from xenia.abi.xen cimport DOMID_SELF as SELF, HYPERVISOR_VIRT_END
from xenia.cpu.context cimport SegmentDescriptor
from xenia.machine.machine cimport (
    FRAME_ALLOCATED, FRAME_L4, FRAME_PINNED, FRAME_VALIDATED, FRAME_WRITABLE, Frame, Machine, MachineMemory,
    frame_words,
)
from xenia.machine.lock cimport lock, unlock
from xenia.mm.access cimport copy_from_guest, copy_to_guest
from xenia.mm.memory cimport MAX_PROCESSORS, DomainMemory, mm_dirty
from xenia.mm.pv.audit cimport audit
from xenia.mm.pv.descriptors cimport (
    find_descriptor, map_ldt_page, perdomain_add_vcpu, perdomain_create, perdomain_destroy, release_gdt, set_gdt,
    set_ldt, update_descriptor,
)
from xenia.mm.pv.ptwr cimport ptwr_find, ptwr_write
from xenia.mm.pv.pvmmu cimport PvMmu, VcpuMmu, pv_mmu_init
from xenia.mm.references cimport get_granted, get_page, get_page_and_type, put_granted, put_page, put_page_and_type
from xenia.mm.reservation cimport relinquish
from xenia.mm.pv.update cimport mmu_update, mmuext_op, new_base_pointer, update_va_mapping
from xenia.testing.lock cimport Asker, asker
from xenia.testing.recorder cimport RecordingProcessor

BASE = HYPERVISOR_VIRT_END          # of the direct map: slot 272
REQUESTS = 4
L4, L3, L2, L1 = 0, 1, 2, 3         # pfns of the page tables
FIRST_FREE = 8                      # the first pfn that is used for nothing
DOMID_SELF = SELF

cdef uint64_t FIRST_REQUEST_VA = BASE + 4096 * REQUESTS

cdef enum:
    NR_TABLES = 4
    FIRST_REQUEST = 4
    NR_REQUEST_FRAMES = 4
    SLOT = 272
    TABLE_FLAGS = 0x67              # present, writable, user, accessed, dirty
    DATA_FLAGS = 0x63
    READ_ONLY_FLAGS = 0x61


class FrameState(NamedTuple):
    """One row of the frame table.  The type is 0 where no reference needs it."""

    owner: int
    refs: int
    type: int
    type_refs: int
    pinned: bool
    validated: bool
    allocated: bool
    linear: int


cdef void note_dirty(void *argument, uint64_t mfn) noexcept nogil:
    (<unsigned char *>argument)[mfn] = 1


cdef class PvDomain:
    """`pages` frames (at most 512) of `machine`, or of machine memory of its own."""

    cdef readonly MachineMemory machine
    cdef readonly RecordingProcessor processor
    cdef readonly list processors  # type: list[RecordingProcessor]
    cdef readonly list frames  # type: list[int]
    cdef readonly int domid
    cdef DomainMemory memory
    cdef PvMmu mmu
    cdef VcpuMmu[MAX_PROCESSORS] vcpus
    cdef VcpuMmu *vcpu      # whose hypercalls are made
    cdef bint dead
    cdef bytearray log      # a byte for each frame of the machine: whether it was told of since the log began
    cdef dict held          # how often Xen holds which frame, to write to it
    cdef volatile bint writing
    cdef readonly int nr_written

    def __init__(self, pages: int = 64, *, machine: MachineMemory | None = None, domid: int = 1,
                 scatter: int | None = None) -> None:
        self.machine = machine if machine is not None else MachineMemory((pages + 64) << 12, scatter)
        self.processor = RecordingProcessor()
        self.processor.attach(self.machine.machine)
        self.processors = [self.processor]
        self.domid = domid
        self.memory.machine = self.machine.machine
        self.memory.domid = domid
        self.memory.max_pages = 1 << 20
        pv_mmu_init(&self.mmu, &self.memory, NR_TABLES)
        self.mmu.writable_pagetables = True
        perdomain_create(&self.mmu)
        self.vcpu = &self.vcpus[0]
        perdomain_add_vcpu(&self.mmu, self.vcpu, &self.processor.state.processor)
        self.held = {}
        self.frames = []
        self.allocate(pages)
        self.build_tables()
        for _ in range(2):          # the pin, and the base pointer
            if get_page_and_type(&self.memory, self.frames[L4], FRAME_L4):
                raise AssertionError("the first page tables do not validate")
        self.memory.machine.frames[<uint64_t>self.frames[L4]].flags |= FRAME_PINNED
        self.vcpu.root_kernel = self.vcpu.root_loaded = self.frames[L4]
        self.processor.state.processor.ops.load_root(&self.processor.state.processor, self.vcpu.root_kernel, False)
        set_gdt(&self.mmu, self.vcpu, NULL, 0)
        self.processor.forget()

    def add_processor(self) -> RecordingProcessor:
        """One more vcpu's, on the same page tables; its number is its place in `processors`."""
        cdef RecordingProcessor processor = RecordingProcessor()
        cdef VcpuMmu *vcpu = &self.vcpus[self.memory.nr_processors]
        processor.attach(self.machine.machine)
        if perdomain_add_vcpu(&self.mmu, vcpu, &processor.state.processor):
            raise MemoryError
        if get_page_and_type(&self.memory, self.vcpu.root_kernel, FRAME_L4):
            raise AssertionError("the page tables are none any more")
        vcpu.root_kernel = vcpu.root_loaded = self.vcpu.root_kernel
        processor.state.processor.ops.load_root(&processor.state.processor, vcpu.root_kernel, False)
        set_gdt(&self.mmu, vcpu, NULL, 0)
        processor.forget()
        self.processors.append(processor)
        return processor

    def run_on(self, number: int) -> None:
        """The hypercalls from here on are made by that processor's vcpu, and it is the one that touches."""
        self.vcpu = &self.vcpus[<int>number]
        self.processor = self.processors[number]

    cdef void build_tables(self) except *:
        cdef Machine *machine = self.machine.machine
        cdef uint64_t l4 = self.frames[0], l3 = self.frames[1], l2 = self.frames[2], l1 = self.frames[3]
        cdef uint64_t mfn
        frame_words(machine, l4)[SLOT] = l3 << 12 | TABLE_FLAGS
        frame_words(machine, l3)[0] = l2 << 12 | TABLE_FLAGS
        frame_words(machine, l2)[0] = l1 << 12 | TABLE_FLAGS
        for pfn in range(len(self.frames)):
            mfn = self.frames[pfn]
            frame_words(machine, l1)[<int>pfn] = mfn << 12 | (READ_ONLY_FLAGS if pfn < NR_TABLES else DATA_FLAGS)

    # --- frames ---

    def allocate(self, count: int) -> list[int]:
        """More frames; their mfns."""
        mfns = list(self.machine.allocate(self.domid, count))
        self.frames += mfns
        self.memory.tot_pages += len(mfns)
        for mfn in mfns:
            mm_dirty(&self.memory, mfn)
        return mfns

    def release(self, mfn: int) -> bool:
        """Give a frame back as XENMEM_decrease_reservation does; whether it was the domain's to give."""
        cdef uint64_t number = mfn
        if not get_page(&self.memory, number):
            return False
        given = self.memory.machine.frames[number].flags & FRAME_ALLOCATED != 0
        if given:
            self.memory.machine.frames[number].flags &= ~FRAME_ALLOCATED
            put_page(&self.memory, number)
        put_page(&self.memory, number)
        return given

    def hold(self, mfn: int) -> int:
        """Xen holds a frame that it writes to, like the store's page: 0 or a negative errno."""
        rc = get_page_and_type(&self.memory, mfn, FRAME_WRITABLE)
        if rc == 0:
            self.held[mfn] = self.held.get(mfn, 0) + 1
        return rc

    def let_go(self, mfn: int) -> None:
        """It does so no longer."""
        self.held[mfn] -= 1
        put_page_and_type(&self.memory, mfn)

    def set_counts(self, mfn: int, refs: int, type_refs: int, linear: int = 0) -> None:
        """Have a frame be referenced that often, by whomever."""
        cdef Frame *frame = &self.memory.machine.frames[<uint64_t>mfn]
        frame.refs, frame.type_refs, frame.linear = refs, type_refs, linear

    def frame(self, mfn: int) -> FrameState:
        """The frame table's row."""
        cdef Frame *frame = &self.memory.machine.frames[<uint64_t>mfn]
        return FrameState(frame.owner, frame.refs, frame.type if frame.type_refs else 0, frame.type_refs,
                          frame.flags & FRAME_PINNED != 0,
                          frame.flags & FRAME_VALIDATED != 0, frame.flags & FRAME_ALLOCATED != 0, frame.linear)

    def word(self, mfn: int, index: int) -> int:
        """A 64-bit word of a frame."""
        return frame_words(self.memory.machine, mfn)[<int>index]

    def poke(self, mfn: int, index: int, value: int) -> None:
        """Set a 64-bit word of a frame, past all rules."""
        frame_words(self.memory.machine, mfn)[<int>index] = value

    def snapshot(self) -> bytes:
        """All of machine memory but the request frames, and the frame table: for asking whether anything changed."""
        rows = [self.frame(mfn) for mfn in range(self.machine.nr_frames)]
        memory = bytearray(memoryview(self.machine))
        for mfn in self.frames[FIRST_REQUEST:FIRST_REQUEST + NR_REQUEST_FRAMES]:
            memory[mfn << 12:(mfn + 1) << 12] = bytes(4096)
        base_pointers = (self.vcpu.root_kernel, self.vcpu.root_user, self.vcpu.gdt_entries, self.vcpu.ldt_base,
                         self.vcpu.ldt_entries, self.memory.tot_pages)
        return bytes(memory) + repr((rows, base_pointers)).encode()

    def audit(self) -> list[str]:
        """Every disagreement between the frame table and what holds frames, and every translation that is still cached
        and should not be."""
        held = {mfn: (times, times) for mfn, times in self.held.items()}
        found = audit(&self.mmu, held, {})
        for processor in self.processors:
            found += (<RecordingProcessor>processor).dangerous(self.domid)
        return found

    # --- what is written ---

    def log_dirty(self) -> None:
        """Begin the log of frames that are written to or may be."""
        cdef unsigned char[::1] view
        self.log = bytearray(self.machine.nr_frames)
        view = self.log
        self.memory.dirty_argument = &view[0]
        self.memory.dirty = note_dirty

    def logged(self) -> set[int]:
        """The frames of the log; it begins anew."""
        found = {mfn for mfn, told in enumerate(self.log) if told}
        for mfn in found:
            self.log[<Py_ssize_t>mfn] = 0
        return found

    # --- what a guest does ---

    def touch(self, va: int, write: bool = False) -> int | None:
        """Read or write at `va` as guest code: the machine address, None on a page fault."""
        maddr = self.processor.touch(va, write)
        return None if maddr == ~<uint64_t>0 else maddr

    def store(self, va: int, value: int, size: int = 8) -> int | None:
        """A store by the guest's kernel: None when it simply happens; else it faults, and ptwr's answer: 1 not a page
        table of ours, 0 done, or -XEN_E*."""
        cdef uint64_t maddr = self.processor.touch(va, True), seen = 0
        if maddr != ~<uint64_t>0:
            memoryview(self.machine)[maddr:maddr + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
            return None
        if not ptwr_find(&self.mmu, self.vcpu.root_loaded, va, size, &maddr):
            return 1
        memcpy(&seen, self.machine.machine.base + maddr, size)
        return ptwr_write(&self.mmu, maddr, size, seen, value)

    def writable_pagetables(self, on: bool) -> None:
        """The vm_assist."""
        self.mmu.writable_pagetables = on

    def read(self, va: int, length: int) -> bytes | None:
        """copy_from_guest; None for -XEN_EFAULT."""
        target = bytearray(length)
        cdef unsigned char[:] view = target
        return None if copy_from_guest(&self.memory, self.vcpu.root_kernel, &view[0], va, length) else bytes(target)

    def write(self, va: int, data: bytes) -> int:
        """copy_to_guest."""
        cdef const unsigned char[:] view = data
        return copy_to_guest(&self.memory, self.vcpu.root_kernel, va, &view[0], len(data))

    # --- hypercalls ---

    def mmu_update(self, requests: Sequence[tuple[int, int]], foreigndom: int = SELF) -> tuple[int, int]:
        """mmu_update with (ptr, val) requests: the result (1: preempted) and how many were carried out."""
        self.load_requests([word for request in requests for word in request])
        return self.raw_mmu_update(BASE + 4096 * FIRST_REQUEST, len(requests), foreigndom)

    def mmuext(self, operations: Sequence[tuple[int, int, int]], foreigndom: int = SELF) -> tuple[int, int]:
        """mmuext_op with (cmd, arg1, arg2) operations: the result (1: preempted) and how many were carried out."""
        cdef uint32_t done = 0, count = len(operations), domid = foreigndom
        cdef int64_t rc
        self.load_requests([word for operation in operations for word in operation])
        with nogil:
            rc = mmuext_op(&self.mmu, self.vcpu, FIRST_REQUEST_VA, count, domid, &done)
        return rc, done

    cdef void load_requests(self, list words) except *:
        # The request frames are consecutive for the guest, not for the machine.
        if len(words) > 512 * NR_REQUEST_FRAMES:
            raise ValueError("too many requests at once")
        for i, word in enumerate(words):
            frame_words(self.memory.machine, self.frames[FIRST_REQUEST + i // 512])[<int>(i % 512)] = word

    def raw_mmu_update(self, va: int, count: int, foreigndom: int = SELF) -> tuple[int, int]:
        """mmu_update with any request address and count."""
        cdef uint32_t done = 0, nr_requests = count, domid = foreigndom
        cdef uint64_t requests = va
        cdef int64_t rc
        with nogil:
            rc = mmu_update(&self.mmu, self.vcpu, requests, nr_requests, domid, &done)
        return rc, done

    def update(self, mfn: int, index: int, value: int, command: int = 0) -> int:
        """One mmu_update of entry `index` of frame `mfn`."""
        return self.mmu_update([(mfn << 12 | index << 3 | command, value)])[0]

    def op(self, command: int, arg1: int = 0, arg2: int = 0) -> int:
        """One mmuext_op."""
        return self.mmuext([(command, arg1, arg2)])[0]

    def update_va_mapping(self, va: int, pte: int, flags: int = 0) -> int:
        """update_va_mapping."""
        return update_va_mapping(&self.mmu, self.vcpu, va, pte, flags)

    def map(self, pfn: int, pte: int) -> int:
        """update_va_mapping of the direct map's page `pfn`, with the flush that a kernel would ask for."""
        return self.update_va_mapping(BASE + 4096 * pfn, pte, 2)

    def protect(self, pfn: int) -> int:
        """Make the direct map's page `pfn` read-only."""
        return self.map(pfn, self.frames[pfn] << 12 | READ_ONLY_FLAGS)

    def unprotect(self, pfn: int) -> int:
        """Make the direct map's page `pfn` writable."""
        return self.map(pfn, self.frames[pfn] << 12 | DATA_FLAGS)

    def base_pointer(self, mfn: int) -> int:
        """MMUEXT_NEW_BASEPTR, whatever the guest has mapped."""
        return new_base_pointer(&self.mmu, self.vcpu, mfn)

    def set_gdt(self, mfns: Sequence[int], entries: int) -> int:
        """set_gdt."""
        cdef uint64_t frames[16]
        memset(frames, 0, sizeof(frames))
        for i, mfn in enumerate(mfns):
            frames[<int>i] = mfn
        return set_gdt(&self.mmu, self.vcpu, frames, entries)

    def update_descriptor(self, maddr: int, descriptor: int) -> int:
        """update_descriptor."""
        return update_descriptor(&self.mmu, maddr, descriptor)

    def map_ldt_page(self, va: int) -> bool:
        """What a page fault in the LDT area asks for."""
        return map_ldt_page(&self.mmu, self.vcpu, va)

    def find_descriptor(self, selector: int) -> tuple[int, int, int] | int:
        """Base, limit and attributes of what a selector names, or -XEN_E*."""
        cdef SegmentDescriptor descriptor
        rc = find_descriptor(&self.mmu, self.vcpu, selector, &descriptor)
        if rc:
            return rc
        return descriptor.base, descriptor.limit, descriptor.attributes

    @property
    def asker(self) -> Asker:
        """Somebody else who wants its lock."""
        return asker(self, &self.memory.lock)

    def while_others_write(self, mfns: Sequence[int], operation: Callable[[], object]) -> int:
        """Carry `operation` out while somebody who was granted the frames takes each for writing, writes rubbish, puts
        back what was there, and lets go of it, again and again.  How often."""
        thread = threading.Thread(target=self._write, args=(mfns,))
        self.writing = True
        thread.start()
        try:
            operation()
        finally:
            self.writing = False
            thread.join()
        return self.nr_written

    def _write(self, mfns: Sequence[int]) -> None:
        cdef uint64_t[::1] frames = array("Q", mfns)
        cdef uint64_t kept[512]
        cdef uint64_t mfn, i, count = len(mfns)
        cdef bint granted
        self.nr_written = 0
        with nogil:
            while self.writing:
                for i in range(count):
                    mfn = frames[i]
                    lock(&self.memory.lock)
                    granted = get_granted(&self.memory, mfn, True)
                    unlock(&self.memory.lock)
                    if not granted:
                        continue
                    self.nr_written += 1
                    memcpy(kept, frame_words(self.memory.machine, mfn), 4096)
                    memset(frame_words(self.memory.machine, mfn), 0xff, 4096)
                    memcpy(frame_words(self.memory.machine, mfn), kept, 4096)
                    lock(&self.memory.lock)
                    put_granted(&self.memory, mfn, True)
                    unlock(&self.memory.lock)

    # --- counts ---

    @property
    def tot_pages(self) -> int:
        """Frames it has."""
        return self.memory.tot_pages

    @property
    def nr_ptwr(self) -> int:
        """Page-table writes carried out."""
        return self.mmu.nr_ptwr

    @property
    def root_kernel(self) -> int:
        """The kernel's base pointer."""
        return self.vcpu.root_kernel

    @property
    def root_user(self) -> int:
        """The user's base pointer, 0 none."""
        return self.vcpu.root_user

    @property
    def perdomain_l1(self) -> int:
        """The first L1 of the GDT and LDT area."""
        return self.mmu.perdomain_l1[0]

    # --- the end ---

    def relinquish(self) -> int:
        """End the domain and give all its frames back; how many stay."""
        cdef uint64_t left
        self.dead = True
        self.memory.dying = True
        for number in range(len(self.processors)):
            self.run_on(number)
            set_ldt(&self.mmu, self.vcpu, 0, 0)
            release_gdt(&self.mmu, self.vcpu)
            if self.vcpu.root_user:
                put_page_and_type(&self.memory, self.vcpu.root_user)
            with nogil:
                put_page_and_type(&self.memory, self.vcpu.root_kernel)
            self.vcpu.root_kernel = self.vcpu.root_user = self.vcpu.root_loaded = 0
        with nogil:
            left = relinquish(&self.memory)
        perdomain_destroy(&self.mmu)
        return left
