"""Grant references as whoever uses them sees them (public/grant_table.h).

Theory of operation.  A domain writes into its table which frame another domain may use.  Whoever uses it, to map it, to
copy, or as a backend, takes a hold: the entry is read once, checked, and its GTF_reading and GTF_writing flags set in
the same atomic step, so that the granter cannot take the grant back unseen; then the frame is held through the frame
table, with a writable reference where it will be written.  So a granted frame stays with its granter, and never becomes
a page table, for as long as anybody could write to it, whatever the granter does to its entry.  What is held of each
reference is on record, and as long as there is anything, the record and not the entry says which frame it is.

Locks.  The granter's memory lock guards its table, its records and its frames.  Nobody holds two domains' locks
at once: an operation takes the hold under the granter's lock, lets go of it, and then changes its own page tables under
its own.  Giving back goes the other way round.  The lock of the Directory may be taken by nobody who holds a domain's
lock.

The flags are shared with the guest, which takes a grant back with a cmpxchg that an engine need not carry out
atomically against other host threads.  A guest that takes a grant back while it is still being used may so not notice;
it then shares its own frame for longer than it knows, and nothing else.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc

from xenia.abi.grant_table cimport (
    GNTST_bad_domain, GNTST_bad_gntref, GNTST_eagain, GNTST_general_error, GNTST_no_space, GNTST_okay,
    GTF_permit_access, GTF_reading, GTF_readonly, GTF_sub_page, GTF_transitive, GTF_type_mask, GTF_writing,
    grant_entry_v2_t, grant_entry_v2_transitive_t,
)
from xenia.domain.directory cimport domain_enter, domain_leave, domain_use
from xenia.domain.written cimport frame_written
from xenia.machine.lock cimport lock, unlock
from xenia.machine.machine cimport frame_words
from xenia.machine.paging cimport PAGE_SIZE
from xenia.mm.references cimport get_granted, put_granted

cdef extern from *:
    """
    static inline uint64_t word_load(uint64_t *word) { return __atomic_load_n(word, __ATOMIC_SEQ_CST); }
    static inline int word_swap(uint64_t *word, uint64_t expected, uint64_t value)
    { return __atomic_compare_exchange_n(word, &expected, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); }
    static inline uint32_t half_load(uint32_t *half) { return __atomic_load_n(half, __ATOMIC_SEQ_CST); }
    static inline void quarter_or(uint16_t *place, uint16_t bits) { __atomic_fetch_or(place, bits, __ATOMIC_SEQ_CST); }
    static inline void quarter_clear(uint16_t *place, uint16_t bits) {
        __atomic_fetch_and(place, ~bits, __ATOMIC_SEQ_CST);
    }
    """
    uint64_t word_load(uint64_t *word) noexcept nogil
    bint word_swap(uint64_t *word, uint64_t expected, uint64_t value) noexcept nogil
    uint32_t half_load(uint32_t *half) noexcept nogil
    void quarter_or(uint16_t *place, uint16_t bits) noexcept nogil
    void quarter_clear(uint16_t *place, uint16_t bits) noexcept nogil

cdef enum:
    RECORDS_SHIFT = 9
    RECORDS = 1 << RECORDS_SHIFT
    RETRIES = 5             # of an entry that changes while it is taken

cdef struct Claim:          # what an entry said when its flags were set
    uint64_t mfn
    uint16_t start
    uint16_t length
    uint16_t through        # transitive: whose grant, and which
    uint32_t through_ref
    bint transitive


# --- the table ---


cdef uint32_t grant_entries(Domain *domain) noexcept nogil:
    return domain.grants.nr_frames << (9 if domain.grants.version == 1 else 8)


cdef void *grant_entry(Domain *domain, uint32_t ref) noexcept nogil:
    cdef int shift = 9 if domain.grants.version == 1 else 8
    cdef uint32_t index = ref & ((1 << shift) - 1)
    return frame_words(domain.machine, domain.grants.frames[ref >> shift]) + (index if shift == 9 else 2 * index)


cdef inline uint16_t *status_of(Domain *domain, uint32_t ref) noexcept nogil:
    # Where the reading and writing flags of an entry are.
    if domain.grants.version == 1:
        return <uint16_t *>grant_entry(domain, ref)
    return <uint16_t *>frame_words(domain.machine, domain.grants.status_frames[ref >> 11]) + (ref & 2047)


cdef GrantRecord *record_of(Domain *domain, uint32_t ref) noexcept nogil:
    cdef GrantRecord **records = &domain.grants.records[ref >> RECORDS_SHIFT]
    if records[0] == NULL:
        records[0] = <GrantRecord *>calloc(RECORDS, sizeof(GrantRecord))
        if records[0] == NULL:
            return NULL
    return &records[0][ref & (RECORDS - 1)]


cdef bint grant_held(Domain *domain, uint32_t ref) noexcept nogil:
    cdef GrantRecord *records = domain.grants.records[ref >> RECORDS_SHIFT]
    return records != NULL and (records[ref & (RECORDS - 1)].readers or records[ref & (RECORDS - 1)].writers)


cdef bint grant_held_from(Domain *domain, uint32_t ref) noexcept nogil:
    for ref in range(ref, 64 * RECORDS):
        if domain.grants.records[ref >> RECORDS_SHIFT] != NULL and grant_held(domain, ref):
            return True
    return False


# --- holds ---


cdef int grant_hold(Domain *granter, uint16_t holder, uint32_t ref, bint writable, int purpose,
                    GrantHold *hold) noexcept nogil:
    cdef Claim claim
    cdef int status
    lock(&granter.memory.lock)
    status = take(granter, holder, ref, writable, purpose, hold, &claim)
    unlock(&granter.memory.lock)
    if status != GNTST_okay or not claim.transitive:
        return status
    return go_through(granter, &claim, writable, hold)


cdef int go_through(Domain *granter, Claim *claim, bint writable, GrantHold *hold) noexcept nogil:
    # The granter lets its grantee use what a third domain granted it: one step, and no more.
    cdef Domain *third = domain_enter(granter.directory, claim.through)
    cdef Claim beyond
    cdef int status
    if third == NULL:
        return GNTST_bad_domain
    lock(&third.memory.lock)
    status = take(third, granter.domid, claim.through_ref, writable, GRANT_COPY, hold, &beyond)
    if status == GNTST_okay and beyond.transitive:
        status = GNTST_general_error
    unlock(&third.memory.lock)
    domain_leave(third)
    return status


cdef int take(Domain *granter, uint16_t holder, uint32_t ref, bint writable, int purpose, GrantHold *hold,
              Claim *claim) noexcept nogil:
    cdef GrantRecord *record
    cdef int status
    claim.transitive = False
    if granter.life.is_dying:
        return GNTST_bad_domain
    if ref >= grant_entries(granter):
        return GNTST_bad_gntref
    record = record_of(granter, ref)
    if record == NULL:
        return GNTST_no_space
    if (record.readers or record.writers) and record.domid != holder:
        return GNTST_general_error
    if granter.grants.version == 1:
        status = claim_v1(granter, holder, ref, writable, claim)
    else:
        status = claim_v2(granter, holder, ref, writable, purpose, claim)
    if status != GNTST_okay or claim.transitive:
        return status
    if record.readers or record.writers:
        claim.mfn = record.mfn
    if not get_granted(&granter.memory, claim.mfn, writable):
        show(granter, ref, record)
        return GNTST_general_error
    record.mfn = claim.mfn
    record.domid = holder
    if writable:
        record.writers += 1
    else:
        record.readers += 1
    domain_use(granter)
    hold.granter = granter
    hold.mfn = claim.mfn
    hold.ref = ref
    hold.start = claim.start
    hold.length = claim.length
    hold.writable = writable
    return GNTST_okay


cdef int claim_v1(Domain *granter, uint16_t holder, uint32_t ref, bint writable, Claim *claim) noexcept nogil:
    # Flags, domain and frame are one word: they are checked, and the flags set, in one step.
    cdef uint64_t *entry = <uint64_t *>grant_entry(granter, ref)
    cdef uint64_t word, wanted = GTF_reading | (GTF_writing if writable else 0)
    cdef int _
    for _ in range(RETRIES):
        word = word_load(entry)
        if not permits(word & 0xffff, (word >> 16) & 0xffff, holder, writable):
            return GNTST_general_error
        if word_swap(entry, word, word | wanted):
            claim.mfn = word >> 32
            claim.start = 0
            claim.length = PAGE_SIZE
            return GNTST_okay
    return GNTST_general_error


cdef int claim_v2(Domain *granter, uint16_t holder, uint32_t ref, bint writable, int purpose,
                  Claim *claim) noexcept nogil:
    # The flags are apart from the entry: they are set first, and taken back if the entry is not, or not any more, what
    # it should be.
    cdef grant_entry_v2_t *entry = <grant_entry_v2_t *>grant_entry(granter, ref)
    cdef grant_entry_v2_transitive_t *transitive = <grant_entry_v2_transitive_t *>entry
    cdef uint32_t header = half_load(<uint32_t *>entry)
    cdef uint16_t flags = <uint16_t>header
    cdef uint64_t middle
    if flags & GTF_type_mask == GTF_transitive:
        if purpose != GRANT_COPY or header >> 16 != holder or (writable and flags & GTF_readonly):
            return GNTST_general_error
        claim.transitive = True
        claim.through = transitive.trans_domid
        claim.through_ref = half_load(&transitive.gref)
        return GNTST_okay
    if (not permits(flags, <uint16_t>(header >> 16), holder, writable)
            or flags & GTF_sub_page and purpose != GRANT_COPY):
        return GNTST_general_error
    quarter_or(status_of(granter, ref), GTF_reading | (GTF_writing if writable else 0))
    middle = word_load(<uint64_t *>entry)
    claim.mfn = word_load(&entry.frame)
    if half_load(<uint32_t *>entry) != header or <uint32_t>middle != header:
        show(granter, ref, record_of(granter, ref))
        if flags & GTF_type_mask == half_load(<uint32_t *>entry) & GTF_type_mask:
            return GNTST_eagain
        return GNTST_general_error
    claim.start = 0
    claim.length = PAGE_SIZE
    if flags & GTF_sub_page:
        claim.start = <uint16_t>(middle >> 32)
        claim.length = <uint16_t>(middle >> 48)
        if <uint32_t>claim.start + claim.length > PAGE_SIZE:
            show(granter, ref, record_of(granter, ref))
            return GNTST_general_error
    return GNTST_okay


cdef inline bint permits(uint16_t flags, uint16_t domid, uint16_t holder, bint writable) noexcept nogil:
    return flags & GTF_type_mask == GTF_permit_access and domid == holder and not (writable and flags & GTF_readonly)


cdef void show(Domain *granter, uint32_t ref, GrantRecord *record) noexcept nogil:
    # The flags say no more than what is held.
    cdef uint16_t gone = 0
    if not record.writers:
        gone |= GTF_writing
        if not record.readers:
            gone |= GTF_reading
    if gone:
        quarter_clear(status_of(granter, ref), gone)


cdef void grant_release(GrantHold *hold) noexcept nogil:
    cdef Domain *granter = hold.granter
    cdef GrantRecord *record
    lock(&granter.memory.lock)
    if hold.writable:
        frame_written(granter, hold.mfn)
    put_granted(&granter.memory, hold.mfn, hold.writable)
    record = record_of(granter, hold.ref)
    if hold.writable:
        record.writers -= 1
    else:
        record.readers -= 1
    if not granter.life.is_dying:            # its table may be gone
        show(granter, hold.ref, record)
    unlock(&granter.memory.lock)
    hold.granter = NULL
    domain_leave(granter)
