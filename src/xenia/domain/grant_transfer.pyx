"""Giving a frame away (public/grant_table.h, GNTTABOP_transfer).

Between the two owners the frame is nobody's: it has one reference, held here, and an owner's number that no domain has.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

from xenia.abi.grant_table cimport (
    GNTST_bad_domain, GNTST_bad_page, GNTST_general_error, GNTST_okay, GTF_accept_transfer, GTF_transfer_committed,
    GTF_transfer_completed, GTF_type_mask, grant_entry_v2_t,
)
from xenia.abi.xen cimport DOMID_XEN
from xenia.domain.grants cimport grant_entries, grant_entry
from xenia.machine.lock cimport lock, unlock
from xenia.machine.machine cimport FRAME_ALLOCATED, FRAME_NONE, FRAME_SHARED, Frame, frame_exists, machine_free
from xenia.mm.memory cimport mm_dirty, mm_forget_frame

cdef extern from *:
    """
    static inline uint32_t header_load(uint32_t *word) { return __atomic_load_n(word, __ATOMIC_SEQ_CST); }
    static inline int header_swap(uint32_t *word, uint32_t expected, uint32_t value)
    { return __atomic_compare_exchange_n(word, &expected, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); }
    static inline void flags_or(uint16_t *flags, uint16_t bits) { __atomic_fetch_or(flags, bits, __ATOMIC_SEQ_CST); }
    """
    uint32_t header_load(uint32_t *word) noexcept nogil
    bint header_swap(uint32_t *word, uint32_t expected, uint32_t value) noexcept nogil
    void flags_or(uint16_t *flags, uint16_t bits) noexcept nogil


cdef int grant_transfer(Domain *domain, Domain *target, uint64_t mfn, uint32_t ref) noexcept nogil:
    cdef int status = GNTST_bad_domain
    lock(&domain.memory.lock)
    if not give_up(domain, mfn):
        unlock(&domain.memory.lock)
        return GNTST_bad_page
    unlock(&domain.memory.lock)
    if target != NULL:
        lock(&target.memory.lock)
        status = accept(target, domain.domid, mfn, ref)
        unlock(&target.memory.lock)
    if status != GNTST_okay:
        machine_free(domain.machine, mfn)
    return status


cdef bint give_up(Domain *domain, uint64_t mfn) noexcept nogil:
    # Only a frame that nothing but its owner's own reference holds.
    cdef Frame *frame
    if not frame_exists(domain.machine, mfn):
        return False
    frame = &domain.machine.frames[mfn]
    if (frame.owner != domain.domid or frame.refs != 1 or not frame.flags & FRAME_ALLOCATED
            or frame.type == FRAME_SHARED):
        return False
    mm_forget_frame(&domain.memory, mfn)
    domain.memory.tot_pages -= 1
    frame.owner = DOMID_XEN
    frame.flags = 0
    frame.type = FRAME_NONE
    frame.linear = 0
    return True


cdef int accept(Domain *target, uint16_t giver, uint64_t mfn, uint32_t ref) noexcept nogil:
    cdef Frame *frame = &target.machine.frames[mfn]
    cdef uint32_t *entry
    cdef uint32_t header
    if target.life.is_dying:
        return GNTST_bad_domain
    if ref >= grant_entries(target):
        return GNTST_general_error
    if target.memory.tot_pages >= target.memory.max_pages or (target.grants.version == 1 and mfn >> 32):
        return GNTST_general_error
    entry = <uint32_t *>grant_entry(target, ref)
    header = header_load(entry)
    if (header & (GTF_type_mask | GTF_transfer_committed | GTF_transfer_completed) != GTF_accept_transfer
            or header >> 16 != giver):
        return GNTST_general_error
    if not header_swap(entry, header, header | GTF_transfer_committed):
        return GNTST_general_error
    frame.owner = target.domid
    frame.flags = FRAME_ALLOCATED
    frame.stamp = 0
    target.memory.tot_pages += 1
    mm_dirty(&target.memory, mfn)
    if target.grants.version == 1:
        entry[1] = <uint32_t>mfn
    else:
        (<grant_entry_v2_t *>entry).frame = mfn
    flags_or(<uint16_t *>entry, GTF_transfer_completed)
    return GNTST_okay
