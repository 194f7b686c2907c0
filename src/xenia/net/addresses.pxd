# Which of a bridge's ports an address was seen at.  See addresses.pyx.
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

# A port's part of it, zeroed but for NOWHERE.
cdef struct Owner:
    int32_t newest
    int32_t oldest
    uint32_t count
    uint32_t most                   # that it may have, at least 1

cdef struct Address:
    uint64_t key                    # the VLAN's number << 48 | the MAC as a number
    int64_t seen                    # when it was the sender of a frame last, on CLOCK_MONOTONIC in ns; FOREVER: static
    Owner *owner
    int32_t next                    # in its bucket, or of those that are free
    int32_t newer                   # of its owner's
    int32_t older

cdef enum:
    NOWHERE = -1

cdef enum Learned:
    KNEW                            # or learnt: it is this owner's
    IS_ANOTHERS                     # and static


cdef class Addresses:
    cdef Address *entries
    cdef int32_t *buckets
    cdef int32_t free_entry
    cdef uint32_t room, mask
    cdef uint64_t secret
    cdef int64_t age                # ns after which an address is forgotten
    # Whose it is; NULL: nobody's that is known at `now`.
    cdef Owner *find(self, uint64_t key, int64_t now) noexcept nogil
    # It was seen at `owner`, who forgets the one that it has not heard of for longest where it has enough.
    cdef Learned learn(self, uint64_t key, Owner *owner, int64_t now) noexcept nogil
    # It is at `owner`, and stays there.  False: it is somebody's for good already, or there is no room.
    cdef bint fix(self, uint64_t key, Owner *owner) noexcept nogil
    cdef void forget_all(self, Owner *owner) noexcept nogil
    # Have room for so many.  False: no memory.
    cdef bint grow(self, uint32_t room) noexcept nogil
    # The rest is its own.
    cdef int32_t *bucket(self, uint64_t key) noexcept nogil
    cdef int32_t index_of(self, uint64_t key) noexcept nogil
    cdef int32_t take(self, uint64_t key) noexcept nogil        # an entry for the key, in its bucket
    cdef void forget(self, int32_t index) noexcept nogil
    cdef void link(self, int32_t index, Owner *owner) noexcept nogil
    cdef void unlink(self, int32_t index) noexcept nogil


cdef inline bint is_static(const Address *address) noexcept nogil:
    return address.seen < 0
