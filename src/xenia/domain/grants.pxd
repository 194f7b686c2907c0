# Grant references as whoever uses them sees them (public/grant_table.h).
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from xenia.domain.domain cimport Domain, GrantHold
from xenia.domain.grant_state cimport GrantRecord

cdef enum:                  # what for
    GRANT_MAP = 0           # the whole frame, to be mapped
    GRANT_COPY = 1          # part of a frame, or a transitive grant, will do

# What `granter` granted `holder` as `ref`, held until grant_release: GNTST_*.  From any thread that holds no domain's
# lock.
cdef int grant_hold(Domain *granter, uint16_t holder, uint32_t ref, bint writable, int purpose,
                    GrantHold *hold) noexcept nogil
# What was written to a frame is seen by the granter's processor afterwards.  Likewise.
cdef void grant_release(GrantHold *hold) noexcept nogil

cdef uint32_t grant_entries(Domain *domain) noexcept nogil             # references below are in the table
# grant_entry_v1_t or v2_t, by the table's version
cdef void *grant_entry(Domain *domain, uint32_t ref) noexcept nogil
# Whether anybody holds the reference, or (any of) those from `ref` on.  Precondition: the lock is held.
cdef bint grant_held(Domain *domain, uint32_t ref) noexcept nogil
cdef bint grant_held_from(Domain *domain, uint32_t ref) noexcept nogil
