"""A processor that runs nothing: it notes what the core tells it, and keeps registers and translations as a real one
would.

Its translation cache forgets nothing by itself, so that it shows the worst that a real one could still hold: a cached
writable translation to a frame that has become a page table is a hole in the guest's fence.
"""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from xenia.cpu.context cimport STATE_GENERAL, SegmentDescriptor, context_copy_parts
from xenia.cpu.processor cimport ProcessorOps
from xenia.machine.machine cimport FRAME_SHARED, FRAME_WRITABLE, Frame, frame_exists
from xenia.machine.paging cimport PAGE_ACCESSED, PAGE_DIRTY, PAGE_RW
from xenia.mm.walk cimport Walk, walk_start, walk_step

NAMES = ("pte_changed", "table_typed", "table_untyped", "root_dropped", "flush_page", "flush_all", "flush_frame",
         "code_dirty", "load_root", "set_gdt", "set_ldt")
# How many of a note's arguments mean something.
NR_ARGUMENTS = (4, 2, 2, 1, 1, 0, 1, 2, 2, 2, 2)

cdef enum:
    PTE_CHANGED, TABLE_TYPED, TABLE_UNTYPED, ROOT_DROPPED, FLUSH_PAGE, FLUSH_ALL, FLUSH_FRAME, CODE_DIRTY, LOAD_ROOT
    SET_GDT, SET_LDT

cdef enum:
    USED = 1
    LEVELS = 4


cdef void note(Processor *processor, int kind, uint64_t a, uint64_t b, uint64_t c, uint64_t d) noexcept nogil:
    cdef RecordingState *state = <RecordingState *>processor
    cdef Note *place = &state.notes[state.nr_notes % NOTES]
    place.kind = kind
    place.arguments[0] = a
    place.arguments[1] = b
    place.arguments[2] = c
    place.arguments[3] = d
    state.nr_notes += 1


cdef bint op_run(Processor *processor) noexcept nogil:
    return False


cdef void op_pte_changed(Processor *processor, uint64_t table, unsigned index, uint64_t old,
                         uint64_t new) noexcept nogil:
    note(processor, PTE_CHANGED, table, index, old, new)


cdef void op_table_typed(Processor *processor, uint64_t mfn, int level) noexcept nogil:
    note(processor, TABLE_TYPED, mfn, level, 0, 0)


cdef void op_table_untyped(Processor *processor, uint64_t mfn, int level) noexcept nogil:
    note(processor, TABLE_UNTYPED, mfn, level, 0, 0)


cdef void op_root_dropped(Processor *processor, uint64_t mfn) noexcept nogil:
    note(processor, ROOT_DROPPED, mfn, 0, 0, 0)


cdef void op_flush_page(Processor *processor, uint64_t va) noexcept nogil:
    cdef RecordingState *state = <RecordingState *>processor
    cdef int i
    processor.nr_flush_page += 1
    note(processor, FLUSH_PAGE, va, 0, 0, 0)
    for i in range(TLB_ENTRIES):
        if state.tlb[i].va >> 12 == va >> 12:
            state.tlb[i].va = 0


cdef void op_flush_all(Processor *processor) noexcept nogil:
    cdef RecordingState *state = <RecordingState *>processor
    processor.nr_flush_all += 1
    processor.flush_clock += 1
    note(processor, FLUSH_ALL, 0, 0, 0, 0)
    memset(state.tlb, 0, sizeof(state.tlb))


cdef void op_flush_frame(Processor *processor, uint64_t mfn) noexcept nogil:
    cdef RecordingState *state = <RecordingState *>processor
    cdef int i
    note(processor, FLUSH_FRAME, mfn, 0, 0, 0)
    for i in range(TLB_ENTRIES):
        if state.tlb[i].mfn == mfn:
            state.tlb[i].va = 0


cdef void op_code_dirty(Processor *processor, uint64_t maddr, uint64_t length) noexcept nogil:
    note(processor, CODE_DIRTY, maddr, length, 0, 0)


cdef void op_frame_lent(Processor *processor, uint64_t mfn) noexcept nogil:
    cdef RecordingState *state = <RecordingState *>processor
    state.lent_mfn = mfn
    state.lent_word = (<uint64_t *>(state.machine.base + (mfn << 12)))[0]


cdef void op_load_root(Processor *processor, uint64_t mfn, bint is_user) noexcept nogil:
    (<RecordingState *>processor).inside.root = mfn
    (<RecordingState *>processor).inside.root_is_user = is_user
    (<RecordingState *>processor).nr_root_loads += 1
    note(processor, LOAD_ROOT, mfn, is_user, 0, 0)
    op_flush_all(processor)


cdef void op_set_gdt(Processor *processor, uint64_t va, uint32_t limit) noexcept nogil:
    (<RecordingState *>processor).inside.gdt.base = va
    (<RecordingState *>processor).inside.gdt.limit = limit
    note(processor, SET_GDT, va, limit, 0, 0)


cdef void op_set_ldt(Processor *processor, uint64_t va, uint32_t limit) noexcept nogil:
    (<RecordingState *>processor).inside.ldt.base = va
    (<RecordingState *>processor).inside.ldt.limit = limit
    note(processor, SET_LDT, va, limit, 0, 0)


cdef void op_get_segment(Processor *processor, int sreg, uint16_t *selector, uint64_t *base) noexcept nogil:
    selector[0] = (<RecordingState *>processor).inside.selectors[sreg]
    base[0] = (<RecordingState *>processor).inside.segments[sreg].base


cdef void op_set_segment(Processor *processor, int sreg, uint16_t selector,
                         SegmentDescriptor *descriptor) noexcept nogil:
    (<RecordingState *>processor).inside.selectors[sreg] = selector
    (<RecordingState *>processor).inside.segments[sreg] = descriptor[0]


cdef void op_set_segment_base(Processor *processor, int sreg, uint64_t base) noexcept nogil:
    (<RecordingState *>processor).inside.segments[sreg].base = base


cdef void op_set_ts(Processor *processor, bint on) noexcept nogil:
    (<RecordingState *>processor).inside.ts = on


cdef void op_set_debugreg(Processor *processor, int number, uint64_t value) noexcept nogil:
    (<RecordingState *>processor).inside.dr[number] = value


cdef void op_set_cr4(Processor *processor, uint64_t value) noexcept nogil:
    (<RecordingState *>processor).inside.cr4 = value


cdef uint64_t op_read_tsc(Processor *processor) noexcept nogil:
    cdef RecordingState *state = <RecordingState *>processor
    return state.host_ns * TSC_PER_US // 1000 + <uint64_t>state.inside.tsc_offset


cdef void op_set_tsc_offset(Processor *processor, int64_t offset) noexcept nogil:
    (<RecordingState *>processor).inside.tsc_offset = offset


cdef void op_pull(Processor *processor, int what) noexcept nogil:
    context_copy_parts(processor.context, &(<RecordingState *>processor).inside, what & ~STATE_GENERAL)


cdef void op_push(Processor *processor, int what) noexcept nogil:
    context_copy_parts(&(<RecordingState *>processor).inside, processor.context, what & ~STATE_GENERAL)


cdef void op_kick(Processor *processor) noexcept nogil:
    (<RecordingState *>processor).kicks += 1


cdef uint64_t recorded_host_clock(void *argument) noexcept nogil:
    cdef RecordingState *state = <RecordingState *>argument
    state.host_ns += state.step
    return state.host_ns - state.step // 2      # half way between the looks at the TSC before and after


cdef ProcessorOps OPS
OPS.run = op_run
OPS.pte_changed = op_pte_changed
OPS.table_typed = op_table_typed
OPS.table_untyped = op_table_untyped
OPS.root_dropped = op_root_dropped
OPS.flush_page = op_flush_page
OPS.flush_all = op_flush_all
OPS.flush_frame = op_flush_frame
OPS.code_dirty = op_code_dirty
OPS.frame_lent = op_frame_lent
OPS.load_root = op_load_root
OPS.set_gdt = op_set_gdt
OPS.set_ldt = op_set_ldt
OPS.get_segment = op_get_segment
OPS.set_segment = op_set_segment
OPS.set_segment_base = op_set_segment_base
OPS.set_ts = op_set_ts
OPS.pull = op_pull
OPS.push = op_push
OPS.set_debugreg = op_set_debugreg
OPS.set_cr4 = op_set_cr4
OPS.read_tsc = op_read_tsc
OPS.set_tsc_offset = op_set_tsc_offset
OPS.kick = op_kick


cdef class RecordingProcessor:
    """See the module."""

    cdef void attach(self, Machine *machine, Context *context=NULL) noexcept:
        self.state.machine = machine
        self.state.processor.ops = &OPS
        self.state.processor.context = context if context != NULL else &self.state.context

    @property
    def notes(self) -> list[tuple[str | int, ...]]:
        """What it was told since the last `forget`, oldest first: (name, arguments...); the last 1024 at most."""
        cdef uint64_t first = max(0, <int64_t>self.state.nr_notes - NOTES), i
        cdef Note *place
        notes = []
        for i in range(first, self.state.nr_notes):
            place = &self.state.notes[i % NOTES]
            arguments = [place.arguments[n] for n in range(4)]
            notes.append((NAMES[place.kind], *arguments[:NR_ARGUMENTS[place.kind]]))
        return notes

    @property
    def lent(self) -> tuple[int, int]:
        """The frame of which it was told last that others may write to it, and its first word at that time."""
        return self.state.lent_mfn, self.state.lent_word

    def forget(self) -> None:
        """Drop the notes."""
        self.state.nr_notes = 0

    cdef uint64_t touch(self, uint64_t va, bint write) noexcept nogil:
        cdef RecordingState *state = &self.state
        cdef uint64_t writable = PAGE_RW
        cdef int i, place = <int>((va >> 12) % TLB_ENTRIES)
        cdef Walk walk
        for i in range(TLB_ENTRIES):
            if state.tlb[i].va == (va & ~<uint64_t>0xfff | USED) and (state.tlb[i].writable or not write):
                return state.tlb[i].mfn << 12 | va & 0xfff
        walk_start(&walk, state.machine, state.inside.root, LEVELS, va)
        while walk.level:
            if not walk_step(&walk):
                return ~<uint64_t>0
            writable &= walk.pte
            if walk.level:
                walk.entry[0] |= PAGE_ACCESSED
        if not frame_exists(state.machine, walk.table) or (write and not writable):
            return ~<uint64_t>0
        walk.entry[0] |= PAGE_ACCESSED
        if write:
            walk.entry[0] |= PAGE_DIRTY
        for i in range(TLB_ENTRIES):
            if not state.tlb[i].va & USED:
                place = i
        state.tlb[place].va = va & ~<uint64_t>0xfff | USED
        state.tlb[place].mfn = walk.table
        state.tlb[place].writable = write
        return walk.table << 12 | va & 0xfff

    cdef list dangerous(self, int domid):
        cdef Frame *frame
        cdef int i
        found = []
        for i in range(TLB_ENTRIES):
            if not self.state.tlb[i].va & USED:
                continue
            va, mfn = self.state.tlb[i].va & ~<uint64_t>0xfff, self.state.tlb[i].mfn
            frame = &self.state.machine.frames[self.state.tlb[i].mfn]
            if frame.refs == 0:
                found.append(f"{va:#x} still leads to frame {mfn:#x}, which is free")
            elif self.state.tlb[i].writable and frame.type_refs and frame.type not in (FRAME_WRITABLE, FRAME_SHARED):
                found.append(f"{va:#x} still writes to frame {mfn:#x}, which is of type {frame.type}")
            elif frame.owner != domid and self.state.tlb[i].writable:
                found.append(f"{va:#x} still writes to frame {mfn:#x} of domain {frame.owner}")
        return found
