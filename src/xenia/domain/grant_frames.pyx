"""The frames of a domain's grant table (public/grant_table.h): not the domain's to free, retype or count as its memory."""
from libc.stdint cimport uint32_t, uint64_t
from xenia.abi.xen cimport INVALID_M2P_ENTRY
from xenia.domain.domain cimport Domain
from xenia.machine.machine cimport FRAME_SHARED, FRAME_VALIDATED, Frame, machine_alloc, machine_free

cdef bint grant_frames_grow(Domain *domain, uint32_t nr_frames) noexcept nogil:
    cdef uint64_t mfn
    cdef Frame *frame
    if nr_frames > MAX_GRANT_FRAMES:
        return False
    while domain.nr_grant_frames < nr_frames:
        mfn = machine_alloc(domain.machine, domain.domid)
        if mfn == INVALID_M2P_ENTRY:
            return False
        frame = &domain.machine.frames[mfn]
        frame.flags = FRAME_VALIDATED
        frame.type = FRAME_SHARED
        frame.type_refs = 1
        domain.grant_frames[domain.nr_grant_frames] = mfn
        domain.nr_grant_frames += 1
    return True

cdef void grant_frames_release(Domain *domain) noexcept nogil:
    while domain.nr_grant_frames:
        domain.nr_grant_frames -= 1
        machine_free(domain.machine, domain.grant_frames[domain.nr_grant_frames])
