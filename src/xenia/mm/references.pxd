# References and types: who holds a frame, and as what (Xen's get_page and get_page_type family).  See references.pyx.
# Precondition of all: the memory's lock is held.
from libc.stdint cimport uint32_t, uint64_t
from xenia.abi.errno cimport XEN_EINVAL
from xenia.machine.machine cimport FRAME_ALLOCATED, FRAME_SHARED, FRAME_WRITABLE, Frame, frame_exists
from xenia.mm.memory cimport DomainMemory, mm_dirty, mm_forget_frame, mm_given_back, mm_lent, mm_stamp

# What the inline functions below leave to be done: the first reference as a type, the last one, the frame's own end.
cdef int get_other_type(DomainMemory *memory, uint64_t mfn, int frame_type) noexcept nogil
cdef void put_last_type(DomainMemory *memory, uint64_t mfn) noexcept nogil
cdef void put_last_page(DomainMemory *memory, uint64_t mfn) noexcept nogil


# A reference to a frame of this domain.  False where there is no such frame, it is not this domain's, or it has as many
# as can be.
cdef inline bint get_page(DomainMemory *memory, uint64_t mfn) noexcept nogil:
    cdef Frame *frame
    if not frame_exists(memory.machine, mfn):
        return False
    frame = &memory.machine.frames[mfn]
    if <uint32_t>(frame.refs + 1) <= 1 or frame.owner != memory.domid:     # nobody's, or no more can be counted
        return False
    frame.refs += 1
    return True


# Give a reference back; the last one returns the frame to the machine.
cdef inline void put_page(DomainMemory *memory, uint64_t mfn) noexcept nogil:
    cdef Frame *frame = &memory.machine.frames[mfn]
    frame.refs -= 1
    if frame.refs == 0:
        put_last_page(memory, mfn)
    elif not frame.flags & FRAME_ALLOCATED and not memory.dying and frame.type != FRAME_SHARED:
        # The domain gave the frame up, and others hold it.  They may be the last, and they flush nothing of these
        # processors'.
        mm_forget_frame(memory, mfn)


# A reference to the frame as `frame_type`: 0, or -XEN_EINVAL where it is something else or does not validate.
# Precondition: the caller holds a reference to the frame.
cdef inline int get_page_type(DomainMemory *memory, uint64_t mfn, int frame_type) noexcept nogil:
    cdef Frame *frame = &memory.machine.frames[mfn]
    if frame_type == FRAME_WRITABLE:
        mm_dirty(memory, mfn)
    # Tables that nobody holds as such, and counts at their end, want a closer look.
    if frame.type == frame_type and <uint32_t>(frame.type_refs + 1) > <uint32_t>(frame_type != FRAME_WRITABLE):
        frame.type_refs += 1
        return 0
    return get_other_type(memory, mfn, frame_type)


cdef inline void put_page_type(DomainMemory *memory, uint64_t mfn) noexcept nogil:
    cdef Frame *frame = &memory.machine.frames[mfn]
    if frame.type_refs == 1 and frame.type != FRAME_WRITABLE:
        put_last_type(memory, mfn)
        return
    frame.type_refs -= 1
    if frame.type_refs == 0 and frame.type == FRAME_WRITABLE:
        mm_stamp(memory, frame)


# Both; a writable one is Xen's own, since a page-table entry takes the two apart.
cdef inline int get_page_and_type(DomainMemory *memory, uint64_t mfn, int frame_type) noexcept nogil:
    cdef int rc
    if not get_page(memory, mfn):
        return -XEN_EINVAL
    rc = get_page_type(memory, mfn, frame_type)
    if rc:
        put_page(memory, mfn)
    elif memory.machine.frames[mfn].type == FRAME_WRITABLE:
        mm_lent(memory, mfn)
    return rc


cdef inline void put_page_and_type(DomainMemory *memory, uint64_t mfn) noexcept nogil:
    if memory.machine.frames[mfn].type == FRAME_WRITABLE:
        mm_given_back(memory, mfn)
    put_page_type(memory, mfn)
    put_page(memory, mfn)


# What a grant holds, taken and given back by other threads than the domain's.  No translation of the domain's own
# processors is left behind by them.
cdef bint get_granted(DomainMemory *memory, uint64_t mfn, bint writable) noexcept nogil
cdef void put_granted(DomainMemory *memory, uint64_t mfn, bint writable) noexcept nogil
