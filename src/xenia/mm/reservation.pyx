"""The frames that a domain has: how it gets some, gives some up, and at its end all.

A frame that is the domain's has one reference for that (FRAME_ALLOCATED).  To give it up is to drop this one, and the
pin if there is one; who maps it or holds it otherwise keeps it, the domain's still, until he lets go.
"""

from libc.stdint cimport uint32_t, uint64_t

from xenia.abi.xen cimport INVALID_M2P_ENTRY
from xenia.machine.lock cimport give_way
from xenia.machine.machine cimport FRAME_ALLOCATED, FRAME_PINNED, FRAME_SHARED, Frame, machine_alloc_extent
from xenia.mm.memory cimport mm_dirty
from xenia.mm.references cimport get_page, put_page, put_page_and_type

cdef enum:
    AT_ONCE = 512               # frames that are looked at between two questions whether somebody wants the lock


cdef uint64_t gain_extent(DomainMemory *memory, uint64_t pfn, uint32_t order, uint64_t limit) noexcept nogil:
    cdef uint64_t count = <uint64_t>1 << order, i
    cdef uint64_t mfn = machine_alloc_extent(memory.machine, memory.domid, order)
    if mfn == INVALID_M2P_ENTRY:
        return mfn
    memory.tot_pages += count
    for i in range(count):
        memory.machine.m2p[mfn + i] = pfn if pfn == INVALID_M2P_ENTRY else pfn + i
        mm_dirty(memory, mfn + i)
    if mfn + count > limit:
        lose_extent(memory, mfn, order)
        return INVALID_M2P_ENTRY
    return mfn


cdef bint lose_frame(DomainMemory *memory, uint64_t mfn) noexcept nogil:
    cdef Frame *frame
    if not get_page(memory, mfn):
        return False
    frame = &memory.machine.frames[mfn]
    # Xenia's own: shared_info, the grant table.  They stay, and Xen counts them as given up
    if frame.type == FRAME_SHARED:
        put_page(memory, mfn)
        return True
    if frame.flags & FRAME_PINNED:
        frame.flags &= ~FRAME_PINNED
        put_page_and_type(memory, mfn)
    if frame.flags & FRAME_ALLOCATED:
        frame.flags &= ~FRAME_ALLOCATED
        put_page(memory, mfn)
    put_page(memory, mfn)
    return True


cdef bint lose_extent(DomainMemory *memory, uint64_t mfn, uint32_t order) noexcept nogil:
    cdef uint64_t i
    for i in range(<uint64_t>1 << order):
        give_way(&memory.lock)
        if not lose_frame(memory, mfn + i):
            return False
    return True


cdef bint take_frame(DomainMemory *memory, uint64_t mfn) noexcept nogil:
    # The allocation's reference is ours then.
    cdef Frame *frame
    if not get_page(memory, mfn):
        return False
    frame = &memory.machine.frames[mfn]
    put_page(memory, mfn)
    if frame.refs != 1 or not frame.flags & FRAME_ALLOCATED or frame.type == FRAME_SHARED:
        return False
    frame.flags &= ~FRAME_ALLOCATED
    return True


cdef void return_frame(DomainMemory *memory, uint64_t mfn) noexcept nogil:
    memory.machine.frames[mfn].flags |= FRAME_ALLOCATED


cdef void release_frame(DomainMemory *memory, uint64_t mfn) noexcept nogil:
    put_page(memory, mfn)


cdef uint64_t relinquish(DomainMemory *memory) noexcept nogil:
    cdef Frame *frames = memory.machine.frames
    cdef uint64_t mfn, left = 0
    for mfn in range(memory.machine.free.fresh):
        if mfn % AT_ONCE == 0:
            give_way(&memory.lock)
        if frames[mfn].owner == memory.domid and frames[mfn].refs and frames[mfn].flags & FRAME_PINNED:
            frames[mfn].flags &= ~FRAME_PINNED
            put_page_and_type(memory, mfn)
    for mfn in range(memory.machine.free.fresh):
        if mfn % AT_ONCE == 0:
            give_way(&memory.lock)
        if frames[mfn].owner == memory.domid and frames[mfn].refs and frames[mfn].flags & FRAME_ALLOCATED:
            frames[mfn].flags &= ~FRAME_ALLOCATED
            put_page(memory, mfn)
    for mfn in range(memory.machine.free.fresh):
        if mfn % AT_ONCE == 0:
            give_way(&memory.lock)
        left += frames[mfn].owner == memory.domid and frames[mfn].refs != 0
    return left
