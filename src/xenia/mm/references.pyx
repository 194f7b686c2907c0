"""References and types: who holds a machine frame, and as what.

Theory of operation.  This is Xen's scheme, and the whole safety of paravirtualised memory rests on it.

Every frame has two counts.  `refs` counts everything that needs the frame to stay with its owner: each page-table entry
that maps it, a pin, a base pointer.  `type_refs` counts those that need it to stay what it is, and a frame is one thing
at a time: a page table of level 1 to 4, segment descriptors, or ordinary writable memory.  A writable mapping is a
reference to the frame as FRAME_WRITABLE, an L2 entry is a reference to its target as FRAME_L1, and so on.  So a frame
is a page table or it is writable, never both, and no guest can reach its own page tables but by asking.

When a frame is first wanted as something other than writable memory, whoever has rules for that kind of guest checks
what is in it and takes what that holds (`MemoryRules.promote`); when it is last wanted so, that is given back
(`demote`).  For a paravirtualised guest both are in mm/pv.  A table has its type, and a type reference, from before its
first entry is checked until after its last has given back what it held, so nobody gets it for writing while it is half
one thing and half another.

Translations that a processor has cached outlive the entries they came from.  It matters at two moments: when a frame
that was writable becomes something else, and when a frame is handed back.  At both, every cached translation of that
frame is dropped; nothing else needs a flush from here.  A frame's `stamp` says when it last lost a writable reference,
on the clock that counts full flushes (mm/memory): none since, none needed.

Where a domain has several processors, one of them may be in the middle of walking a page table that is none any more.
It must not find there what a guest, or another domain, has written; so a frame that was a table (FRAME_WALKED) is
written by nobody before every processor has flushed, or was asked to, as above.

A count that is at its end refuses whoever wants one more, as Xen does: each entry of eight bytes is one, so a guest of
32 GB gets there.
"""

from libc.stdint cimport UINT32_MAX, uint64_t

from xenia.abi.errno cimport XEN_EINVAL
from xenia.machine.machine cimport (
    FRAME_NONE, FRAME_SHARED, FRAME_VALIDATED, FRAME_WALKED, FRAME_WRITABLE, Frame, machine_free,
)
from xenia.mm.memory cimport (
    mm_dirty, mm_flush_frame, mm_forget_frame, mm_given_back, mm_lent, mm_needs_flush, mm_stamp,
)


cdef void put_last_page(DomainMemory *memory, uint64_t mfn) noexcept nogil:
    if not memory.dying:
        mm_forget_frame(memory, mfn)
    memory.tot_pages -= 1
    machine_free(memory.machine, mfn)


cdef int get_other_type(DomainMemory *memory, uint64_t mfn, int frame_type) noexcept nogil:
    cdef Frame *frame = &memory.machine.frames[mfn]
    cdef int rc
    if frame.type_refs == UINT32_MAX:
        return -XEN_EINVAL
    if frame.type == FRAME_SHARED:
        # Shared with Xen: ordinary memory to the guest, and never anything else.
        if frame_type != FRAME_WRITABLE and frame_type != FRAME_SHARED:
            return -XEN_EINVAL
        frame.type_refs += 1
        return 0
    if frame.type_refs:
        return -XEN_EINVAL
    if frame_type != FRAME_WRITABLE and memory.rules == NULL:
        return -XEN_EINVAL
    if frame.type != frame_type:
        if frame_type != FRAME_WRITABLE and mm_needs_flush(memory, frame):
            mm_flush_frame(memory, mfn)
            frame.flags &= ~FRAME_WALKED
        await_walks(memory, mfn)
        frame.type = frame_type
        frame.flags &= ~FRAME_VALIDATED
    frame.type_refs = 1
    if frame_type != FRAME_WRITABLE and not frame.flags & FRAME_VALIDATED:
        rc = memory.rules.promote(memory.kind, mfn, frame_type)
        if rc:
            frame.type_refs = 0
            frame.type = FRAME_NONE
            return rc
        frame.flags |= FRAME_VALIDATED
    return 0


cdef void put_last_type(DomainMemory *memory, uint64_t mfn) noexcept nogil:
    # It stays what it is, to others, until its entries hold nothing any more.
    cdef Frame *frame = &memory.machine.frames[mfn]
    frame.flags &= ~FRAME_VALIDATED
    if memory.rules != NULL:
        memory.rules.demote(memory.kind, mfn, frame.type)
    frame.type = FRAME_NONE
    frame.type_refs -= 1
    if memory.nr_processors > 1:
        frame.flags |= FRAME_WALKED
        mm_stamp(memory, frame)


cdef inline void await_walks(DomainMemory *memory, uint64_t mfn) noexcept nogil:
    cdef Frame *frame = &memory.machine.frames[mfn]
    if frame.flags & FRAME_WALKED:
        frame.flags &= ~FRAME_WALKED
        if mm_needs_flush(memory, frame) and not memory.dying:
            mm_flush_frame(memory, mfn)


cdef bint get_granted(DomainMemory *memory, uint64_t mfn, bint writable) noexcept nogil:
    # A frame of Xen's that is shared with the domain is not the domain's to grant: it goes when the domain does.
    cdef Frame *frame
    if not get_page(memory, mfn):
        return False
    frame = &memory.machine.frames[mfn]
    if (frame.type == FRAME_SHARED or (writable and frame.type_refs and frame.type != FRAME_WRITABLE)
            or frame.type_refs == UINT32_MAX):
        frame.refs -= 1             # never the last: it was there before
        return False
    if writable and frame.type_refs:
        frame.type_refs += 1
    elif writable:
        await_walks(memory, mfn)
        frame.type = FRAME_WRITABLE
        frame.flags &= ~FRAME_VALIDATED
        frame.type_refs = 1
    if writable:
        mm_dirty(memory, mfn)
        mm_lent(memory, mfn)
    return True


cdef void put_granted(DomainMemory *memory, uint64_t mfn, bint writable) noexcept nogil:
    cdef Frame *frame = &memory.machine.frames[mfn]
    if writable:
        mm_dirty(memory, mfn)       # what was written by it meanwhile
        mm_given_back(memory, mfn)
        frame.type_refs -= 1
        if frame.type_refs == 0 and not memory.dying:
            mm_stamp(memory, frame)
    frame.refs -= 1
    if frame.refs == 0:
        memory.tot_pages -= 1
        machine_free(memory.machine, mfn)
