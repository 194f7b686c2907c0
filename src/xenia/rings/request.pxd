# The two ends of a shared request ring (public/io/ring.h), for compiled backends: plain structs, no Python, no event
# channels.
from libc.stdint cimport uint8_t, uint32_t
from xenia.abi.ring cimport sring_t

cdef struct BackRing:
    sring_t *sring
    uint32_t entry_size
    uint32_t nr_entries     # a power of two
    uint32_t req_cons
    uint32_t rsp_prod       # rsp_prod_pvt: responses put, pushed or not
    uint32_t rsp_pushed

cdef struct FrontRing:
    sring_t *sring
    uint32_t entry_size
    uint32_t nr_entries
    uint32_t req_prod       # req_prod_pvt: requests put, pushed or not
    uint32_t req_pushed
    uint32_t rsp_cons

cdef enum:
    RING_FAULT = -1         # the other end's index cannot be

cdef uint32_t ring_entries(size_t size, uint32_t entry_size) noexcept nogil

# Back end.  Preconditions: take and put only as many as `back_waiting` and `back_owed` say.
cdef void back_attach(BackRing *ring, void *pages, size_t size, uint32_t entry_size, uint32_t start) noexcept nogil
# where whoever was the back end before stopped: 0 in a new ring
cdef uint32_t back_answered(void *pages) noexcept nogil
cdef int back_waiting(BackRing *ring) noexcept nogil            # requests to take, or RING_FAULT
cdef uint32_t back_owed(BackRing *ring) noexcept nogil          # requests taken whose response was not put
# copies: the guest may change the entry at any time
cdef void back_take(BackRing *ring, void *request, uint32_t size) noexcept nogil
cdef void back_put(BackRing *ring, const void *response, uint32_t size) noexcept nogil
cdef bint back_push(BackRing *ring) noexcept nogil              # publish responses; answers whether to notify
# ask to be notified of the next request; requests that came meanwhile, or RING_FAULT
cdef int back_rest(BackRing *ring) noexcept nogil
# the same of the request with which so many wait
cdef int back_want(BackRing *ring, uint32_t count) noexcept nogil

# Front end.
cdef void front_create(FrontRing *ring, void *pages, size_t size, uint32_t entry_size) noexcept nogil
cdef uint32_t front_free(FrontRing *ring) noexcept nogil
cdef void front_put(FrontRing *ring, const void *request, uint32_t size) noexcept nogil
cdef bint front_push(FrontRing *ring) noexcept nogil
cdef int front_waiting(FrontRing *ring) noexcept nogil
cdef void front_take(FrontRing *ring, void *response, uint32_t size) noexcept nogil
cdef int front_rest(FrontRing *ring) noexcept nogil
