"""The two ends of a shared request ring (public/io/ring.h).

One ring carries requests one way and responses the other, in the same entries: a response lies where an answered request
lay.  The front end owns a request until it is pushed, the back end until its response is.  Indices count for ever and wrap at
2^32; an entry is the index modulo the ring's size, a power of two.

Each end tells the other in `req_event` or `rsp_event` at which index it wants to be notified, and pushing answers whether that
index was passed.  An end that is about to wait sets it, and must then look once more, for the other may have pushed before it could
see the wish; `rest` does both.

Each end believes only its own indices, which it keeps to itself, and checks the other's against them whenever it loads it: there can be
neither more requests than free entries nor more responses than requests.  So a hostile peer makes no end loop, read outside of
the ring, or answer twice.  Entries are copied out once; who takes one checks the copy.
"""
from cpython.buffer cimport PyBUF_CONTIG, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memset
from xenia.abi.ring cimport sring_t

from xenia.rings.fault import RingFault
from xenia.errors import HypervisorBug

cdef extern from *:
    """
    #define xenia_load(p)      __atomic_load_n((p), __ATOMIC_ACQUIRE)
    #define xenia_store(p, v)  __atomic_store_n((p), (v), __ATOMIC_RELEASE)
    #define xenia_mb()         __atomic_thread_fence(__ATOMIC_SEQ_CST)
    """
    uint32_t load "xenia_load"(uint32_t *word) noexcept nogil
    void store "xenia_store"(uint32_t *word, uint32_t value) noexcept nogil
    void mb "xenia_mb"() noexcept nogil


cdef uint32_t ring_entries(size_t size, uint32_t entry_size) noexcept nogil:
    cdef uint32_t room, entries = 1
    if size < sizeof(sring_t) + entry_size:
        return 0
    room = <uint32_t>((size - sizeof(sring_t)) // entry_size)
    while entries * 2 <= room:
        entries *= 2
    return entries

cdef inline uint8_t *entry(sring_t *sring, uint32_t nr_entries, uint32_t entry_size, uint32_t index) noexcept nogil:
    return <uint8_t *>sring + sizeof(sring_t) + <size_t>(index & (nr_entries - 1)) * entry_size

# Whether an event index lies in (old, new]: the other end waits for one of those that were just published.
cdef inline bint passed(uint32_t event, uint32_t old, uint32_t new) noexcept nogil:
    return <uint32_t>(new - event) < <uint32_t>(new - old)

# --- Back end

cdef void back_attach(BackRing *ring, void *pages, size_t size, uint32_t entry_size, uint32_t start) noexcept nogil:
    ring.sring = <sring_t *>pages
    ring.entry_size = entry_size
    ring.nr_entries = ring_entries(size, entry_size)
    ring.req_cons = ring.rsp_prod = ring.rsp_pushed = start

cdef uint32_t back_answered(void *pages) noexcept nogil:
    return load(&(<sring_t *>pages).rsp_prod)

cdef uint32_t back_owed(BackRing *ring) noexcept nogil:
    return ring.req_cons - ring.rsp_prod

cdef int back_waiting(BackRing *ring) noexcept nogil:
    # All that was requested and not answered fits into the ring, or it is not true.
    cdef uint32_t unanswered = load(&ring.sring.req_prod) - ring.rsp_prod
    cdef uint32_t owed = back_owed(ring)
    if unanswered > ring.nr_entries or unanswered < owed:
        return RING_FAULT
    return <int>(unanswered - owed)

cdef void back_take(BackRing *ring, void *request, uint32_t size) noexcept nogil:
    memcpy(request, entry(ring.sring, ring.nr_entries, ring.entry_size, ring.req_cons), size)
    ring.req_cons += 1

cdef void back_put(BackRing *ring, const void *response, uint32_t size) noexcept nogil:
    memcpy(entry(ring.sring, ring.nr_entries, ring.entry_size, ring.rsp_prod), response, size)
    ring.rsp_prod += 1

cdef bint back_push(BackRing *ring) noexcept nogil:
    cdef uint32_t old = ring.rsp_pushed
    ring.rsp_pushed = ring.rsp_prod
    store(&ring.sring.rsp_prod, ring.rsp_prod)
    mb()
    return passed(load(&ring.sring.rsp_event), old, ring.rsp_prod)

cdef int back_rest(BackRing *ring) noexcept nogil:
    cdef int waiting = back_waiting(ring)
    if waiting:
        return waiting
    store(&ring.sring.req_event, ring.req_cons + 1)
    mb()
    return back_waiting(ring)

# --- Front end

cdef void front_create(FrontRing *ring, void *pages, size_t size, uint32_t entry_size) noexcept nogil:
    memset(pages, 0, sizeof(sring_t))
    ring.sring = <sring_t *>pages
    ring.sring.req_event = ring.sring.rsp_event = 1
    ring.entry_size = entry_size
    ring.nr_entries = ring_entries(size, entry_size)
    ring.req_prod = ring.req_pushed = ring.rsp_cons = 0

cdef uint32_t front_free(FrontRing *ring) noexcept nogil:
    return ring.nr_entries - (ring.req_prod - ring.rsp_cons)

cdef void front_put(FrontRing *ring, const void *request, uint32_t size) noexcept nogil:
    memcpy(entry(ring.sring, ring.nr_entries, ring.entry_size, ring.req_prod), request, size)
    ring.req_prod += 1

cdef bint front_push(FrontRing *ring) noexcept nogil:
    cdef uint32_t old = ring.req_pushed
    ring.req_pushed = ring.req_prod
    store(&ring.sring.req_prod, ring.req_prod)
    mb()
    return passed(load(&ring.sring.req_event), old, ring.req_prod)

cdef int front_waiting(FrontRing *ring) noexcept nogil:
    cdef uint32_t answered = load(&ring.sring.rsp_prod) - ring.rsp_cons
    if answered > ring.req_prod - ring.rsp_cons:
        return RING_FAULT
    return <int>answered

cdef void front_take(FrontRing *ring, void *response, uint32_t size) noexcept nogil:
    memcpy(response, entry(ring.sring, ring.nr_entries, ring.entry_size, ring.rsp_cons), size)
    ring.rsp_cons += 1

cdef int front_rest(FrontRing *ring) noexcept nogil:
    cdef int waiting = front_waiting(ring)
    if waiting:
        return waiting
    store(&ring.sring.rsp_event, ring.rsp_cons + 1)
    mb()
    return front_waiting(ring)


cdef class _Pages:
    """Shared memory held through the buffer protocol while a ring lies in it."""

    cdef Py_buffer buffer
    cdef bint held

    def __cinit__(self, pages, uint32_t entry_size):
        PyObject_GetBuffer(pages, &self.buffer, PyBUF_CONTIG)
        self.held = True
        if entry_size == 0 or ring_entries(self.buffer.len, entry_size) == 0:
            raise HypervisorBug(f"no ring of {entry_size}-byte entries fits into {self.buffer.len} bytes")

    def __dealloc__(self):
        self.release()

    cdef release(self):
        if self.held:
            self.held = False
            PyBuffer_Release(&self.buffer)


cdef class Back:
    """The back end: takes requests, puts responses.

    pages       the shared pages, writable and contiguous
    entry_size  bytes of the larger of request and response
    start       index to go on from, where a ring outlived its former back end
    """

    cdef _Pages pages
    cdef BackRing ring

    def __init__(self, pages, entry_size: int, start: int = 0) -> None:
        self.pages = _Pages(pages, entry_size)
        back_attach(&self.ring, self.pages.buffer.buf, self.pages.buffer.len, entry_size, start)

    def close(self) -> None:
        """Let go of the pages.  Nothing else may be called afterwards."""
        self.pages.release()
        self.ring.sring = NULL

    @property
    def nr_entries(self) -> int:
        """How many requests the ring holds."""
        return self.ring.nr_entries

    @property
    def owed(self) -> int:
        """Requests taken whose response was not put."""
        return back_owed(&self.ring)

    def take(self) -> list[bytes]:
        """Copies of all requests there are.  Raises RingFault."""
        cdef int i, waiting = back_waiting(self.attached())
        cdef list requests = []
        if waiting == RING_FAULT:
            raise self.fault()
        for i in range(waiting):
            request = PyBytes_FromStringAndSize(NULL, self.ring.entry_size)
            back_take(&self.ring, <char *>request, self.ring.entry_size)
            requests.append(request)
        return requests

    def put(self, response: bytes) -> None:
        """Put the response to a request that was taken.  It is published by `push`."""
        if not back_owed(self.attached()) or len(response) > self.ring.entry_size:
            raise HypervisorBug("a response that nobody asked for, or too long for its entry")
        back_put(&self.ring, <const char *>response, len(response))

    def push(self) -> bool:
        """Publish the responses put so far; answers whether to notify the front end."""
        return back_push(self.attached())

    def rest(self) -> bool:
        """Ask to be notified of the next request; answers whether one came meanwhile, so that there is no rest yet.

        Raises RingFault.
        """
        cdef int waiting = back_rest(self.attached())
        if waiting == RING_FAULT:
            raise self.fault()
        return waiting > 0

    cdef BackRing *attached(self) except NULL:
        if self.ring.sring == NULL:
            raise HypervisorBug("a ring is used that was closed")
        return &self.ring

    cdef fault(self):
        return RingFault(f"req_prod {self.ring.sring.req_prod:#x} with req_cons {self.ring.req_cons:#x} and "
                         f"rsp_prod {self.ring.rsp_prod:#x} in a ring of {self.ring.nr_entries}")


cdef class Front:
    """The front end: makes the ring, puts requests, takes responses.  The arguments are those of Back."""

    cdef _Pages pages
    cdef FrontRing ring

    def __init__(self, pages, entry_size: int) -> None:
        self.pages = _Pages(pages, entry_size)
        front_create(&self.ring, self.pages.buffer.buf, self.pages.buffer.len, entry_size)

    def close(self) -> None:
        """Let go of the pages.  Nothing else may be called afterwards."""
        self.pages.release()
        self.ring.sring = NULL

    @property
    def nr_entries(self) -> int:
        """How many requests the ring holds."""
        return self.ring.nr_entries

    @property
    def free(self) -> int:
        """How many more requests may be put now."""
        return front_free(&self.ring)

    def put(self, request: bytes) -> None:
        """Put a request.  It is published by `push`.  Precondition: one is free."""
        if not front_free(self.attached()) or len(request) > self.ring.entry_size:
            raise HypervisorBug("a request that has no entry, or too long for it")
        front_put(&self.ring, <const char *>request, len(request))

    def push(self) -> bool:
        """Publish the requests put so far; answers whether to notify the back end."""
        return front_push(self.attached())

    def take(self) -> list[bytes]:
        """Copies of all responses there are.  Raises RingFault."""
        cdef int i, waiting = front_waiting(self.attached())
        cdef list responses = []
        if waiting == RING_FAULT:
            raise self.fault()
        for i in range(waiting):
            response = PyBytes_FromStringAndSize(NULL, self.ring.entry_size)
            front_take(&self.ring, <char *>response, self.ring.entry_size)
            responses.append(response)
        return responses

    def rest(self) -> bool:
        """Ask to be notified of the next response; answers whether one came meanwhile.  Raises RingFault."""
        cdef int waiting = front_rest(self.attached())
        if waiting == RING_FAULT:
            raise self.fault()
        return waiting > 0

    cdef FrontRing *attached(self) except NULL:
        if self.ring.sring == NULL:
            raise HypervisorBug("a ring is used that was closed")
        return &self.ring

    cdef fault(self):
        return RingFault(f"rsp_prod {self.ring.sring.rsp_prod:#x} with rsp_cons {self.ring.rsp_cons:#x} and "
                         f"req_prod {self.ring.req_prod:#x} in a ring of {self.ring.nr_entries}")
