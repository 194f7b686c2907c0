# The frames that a domain has: how it gets some, gives some up, and at its end all.  Precondition: the lock is held.
from libc.stdint cimport uint32_t, uint64_t
from xenia.mm.memory cimport DomainMemory

# 2^order zeroed frames, below frame number `limit`, known to the M2P table as `pfn` and on (INVALID_M2P_ENTRY: as
# none); the first, or INVALID_M2P_ENTRY.
cdef uint64_t gain_extent(DomainMemory *memory, uint64_t pfn, uint32_t order, uint64_t limit) noexcept nogil
# The domain gives 2^order frames up: their pins and the allocation's own references go, and a frame goes when its last
# mapping does.  False at the first that is not its own.
cdef bint lose_extent(DomainMemory *memory, uint64_t mfn, uint32_t order) noexcept nogil

# An exchange: frames that nothing but the allocation holds are taken, others got, and then what was taken let go of or
# returned.  Between, nobody else can take a frame that was.
cdef bint take_frame(DomainMemory *memory, uint64_t mfn) noexcept nogil
cdef void return_frame(DomainMemory *memory, uint64_t mfn) noexcept nogil
cdef void release_frame(DomainMemory *memory, uint64_t mfn) noexcept nogil

# Drop all that the dead domain's frames hold and hand them back.  Frames that others still hold stay until they let go.
# The vcpus' own references (roots, GDT, LDT) must be gone.  Returns the number of frames that stay.
cdef uint64_t relinquish(DomainMemory *memory) noexcept nogil
