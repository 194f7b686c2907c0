"""The frames of a domain's grant table (public/grant_table.h): not the domain's to free, retype or count as its
memory."""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset
from xenia.abi.errno cimport XEN_EBUSY, XEN_ENOMEM
from xenia.abi.grant_table cimport (
    GNTTAB_NR_RESERVED_ENTRIES, GTF_permit_access, GTF_reading, GTF_type_mask, GTF_writing, grant_entry_v1_t,
    grant_entry_v2_t,
)
from xenia.abi.xen cimport INVALID_M2P_ENTRY
from xenia.domain.domain cimport Domain
from xenia.domain.grant_state cimport GrantState
from xenia.domain.grants cimport grant_entries, grant_held_from
from xenia.machine.machine cimport FRAME_SHARED, FRAME_VALIDATED, Frame, frame_words, machine_alloc, machine_free
from xenia.mm.memory cimport mm_forget_frame

cdef enum:
    STATUSES_PER_FRAME = 2048
    ENTRIES_V2 = 256            # per frame
    HELD = GTF_reading | GTF_writing


cdef bint grant_frames_grow(Domain *domain, uint32_t nr_frames) noexcept nogil:
    cdef GrantState *grants = &domain.grants
    if nr_frames > MAX_GRANT_FRAMES:
        return False
    if (grants.version == 2
            and not add_frames(domain, grants.status_frames, &grants.nr_status_frames, nr_status(nr_frames))):
        return False
    return add_frames(domain, grants.frames, &grants.nr_frames, nr_frames)


cdef uint32_t nr_status(uint32_t nr_frames) noexcept nogil:
    return (nr_frames * ENTRIES_V2 + STATUSES_PER_FRAME - 1) // STATUSES_PER_FRAME


cdef bint add_frames(Domain *domain, uint64_t *frames, uint32_t *count, uint32_t wanted) noexcept nogil:
    cdef uint64_t mfn
    cdef Frame *frame
    while count[0] < wanted:
        mfn = machine_alloc(domain.machine, domain.domid)
        if mfn == INVALID_M2P_ENTRY:
            return False
        frame = &domain.machine.frames[mfn]
        frame.flags = FRAME_VALIDATED
        frame.type = FRAME_SHARED
        frame.type_refs = 1
        frames[count[0]] = mfn
        count[0] += 1
    return True


cdef int grant_version_set(Domain *domain, uint32_t version) noexcept nogil:
    cdef grant_entry_v1_t reserved[GNTTAB_NR_RESERVED_ENTRIES]
    cdef uint32_t i
    if version == domain.grants.version:
        return 0
    if grant_held_from(domain, GNTTAB_NR_RESERVED_ENTRIES):
        return -XEN_EBUSY
    if (version == 2 and not add_frames(domain, domain.grants.status_frames, &domain.grants.nr_status_frames,
                                        nr_status(domain.grants.nr_frames))):
        return -XEN_ENOMEM
    memset(reserved, 0, sizeof(reserved))
    for i in range(min(<uint32_t>GNTTAB_NR_RESERVED_ENTRIES, grant_entries(domain))):
        save_reserved(domain, i, &reserved[i])
    if version == 1 and not status_frames_release(domain):
        return -XEN_EBUSY
    for i in range(domain.grants.nr_frames):
        memset(frame_words(domain.machine, domain.grants.frames[i]), 0, 4096)
    domain.grants.version = version
    for i in range(min(<uint32_t>GNTTAB_NR_RESERVED_ENTRIES, grant_entries(domain))):
        restore_reserved(domain, i, &reserved[i])
    return 0


# Version 1 has none.  False: the guest still maps one, and they stay.
cdef bint status_frames_release(Domain *domain) noexcept nogil:
    cdef uint64_t mfn
    cdef uint32_t i
    for i in range(domain.grants.nr_status_frames):
        if domain.machine.frames[domain.grants.status_frames[i]].refs > 1:
            return False
    while domain.grants.nr_status_frames:
        domain.grants.nr_status_frames -= 1
        mfn = domain.grants.status_frames[domain.grants.nr_status_frames]
        mm_forget_frame(&domain.memory, mfn)
        machine_free(domain.machine, mfn)
    return True


cdef void save_reserved(Domain *domain, uint32_t ref, grant_entry_v1_t *saved) noexcept nogil:
    cdef uint64_t *first = frame_words(domain.machine, domain.grants.frames[0])
    cdef grant_entry_v2_t *entry = <grant_entry_v2_t *>first + ref
    if domain.grants.version == 1:
        saved[0] = (<grant_entry_v1_t *>first)[ref]
        return
    saved.flags = (entry.flags & ~HELD
                   | (<unsigned short *>frame_words(domain.machine, domain.grants.status_frames[0]))[ref] & HELD)
    saved.domid = entry.domid
    saved.frame = <uint32_t>entry.frame
    if saved.flags & GTF_type_mask != GTF_permit_access or entry.frame >> 32:
        memset(saved, 0, sizeof(grant_entry_v1_t))      # version 1 has no words for it


cdef void restore_reserved(Domain *domain, uint32_t ref, grant_entry_v1_t *saved) noexcept nogil:
    cdef uint64_t *first = frame_words(domain.machine, domain.grants.frames[0])
    cdef grant_entry_v2_t *entry = <grant_entry_v2_t *>first + ref
    if domain.grants.version == 1:
        (<grant_entry_v1_t *>first)[ref] = saved[0]
        return
    entry.domid = saved.domid
    entry.frame = saved.frame
    entry.flags = saved.flags & ~HELD
    (<unsigned short *>frame_words(domain.machine, domain.grants.status_frames[0]))[ref] = saved.flags & HELD


cdef void grant_frames_release(Domain *domain) noexcept nogil:
    while domain.grants.nr_frames:
        domain.grants.nr_frames -= 1
        machine_free(domain.machine, domain.grants.frames[domain.grants.nr_frames])
    while domain.grants.nr_status_frames:
        domain.grants.nr_status_frames -= 1
        machine_free(domain.machine, domain.grants.status_frames[domain.grants.nr_status_frames])
