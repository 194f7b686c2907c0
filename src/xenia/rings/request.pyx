"""The two ends of a shared request ring (public/io/ring.h).

One ring carries requests one way and responses the other, in the same entries: a response lies where an answered
request lay.  The front end owns a request until it is pushed, the back end until its response is.  Indices count for
ever and wrap at 2^32; an entry is the index modulo the ring's size, a power of two.

Each end tells the other in `req_event` or `rsp_event` at which index it wants to be notified, and pushing answers
whether that index was passed.  An end that is about to wait sets it, and must then look once more, for the other may
have pushed before it could see the wish; `rest` does both.

Each end believes only its own indices, which it keeps to itself, and checks the other's against them whenever it loads
it: there can be neither more requests than free entries nor more responses than requests.  So a hostile peer makes no
end loop, read outside of the ring, or answer twice.  Entries are copied out once; who takes one checks the copy.
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
    return waiting if waiting else back_want(ring, 1)


cdef int back_want(BackRing *ring, uint32_t count) noexcept nogil:
    store(&ring.sring.req_event, ring.req_cons + count)
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


cdef class _End:
    """What both ends have: the pages, taking all there is, and going to rest."""

    cdef _Pages pages

    def close(self) -> None:
        """Let go of the pages.  Nothing else may be called afterwards."""
        self.pages.release()

    def take(self) -> list[bytes]:
        """Copies of all that the other end has pushed and was not taken yet.  Raises RingFault."""
        self.check_attached()
        cdef int _, waiting = self.waiting()
        cdef uint32_t size = self.entry_size()
        cdef list taken = []
        if waiting == RING_FAULT:
            raise RingFault(self.indices())
        for _ in range(waiting):
            entry = PyBytes_FromStringAndSize(NULL, size)
            self.take_one(<char *>entry, size)
            taken.append(entry)
        return taken

    def rest(self) -> bool:
        """Ask to be notified of what comes next; answers whether something came meanwhile, so that there is no rest
        yet.

        Raises RingFault.
        """
        self.check_attached()
        cdef int waiting = self.waiting_at_rest()
        if waiting == RING_FAULT:
            raise RingFault(self.indices())
        return waiting > 0

    cdef check_attached(self):
        if not self.pages.held:
            raise HypervisorBug("a ring is used that was closed")

    cdef check_fits(self, uint32_t free, message):
        self.check_attached()
        if not free or len(message) > self.entry_size():
            raise HypervisorBug("a message that has no entry in its ring, or is too long for it")

    # The end's own half.

    cdef uint32_t entry_size(self):
        raise NotImplementedError

    cdef int waiting(self):
        raise NotImplementedError

    cdef int waiting_at_rest(self):
        raise NotImplementedError

    cdef void take_one(self, void *entry, uint32_t size):
        pass

    cdef indices(self):
        raise NotImplementedError


cdef class Back(_End):
    """The back end: takes requests, puts responses.

    pages       the shared pages, writable and contiguous
    entry_size  bytes of the larger of request and response
    start       index to go on from, where a ring outlived its former back end
    """

    cdef BackRing ring

    def __init__(self, pages: Buffer, entry_size: int, start: int = 0) -> None:
        self.pages = _Pages(pages, entry_size)
        back_attach(&self.ring, self.pages.buffer.buf, self.pages.buffer.len, entry_size, start)

    @property
    def nr_entries(self) -> int:
        """How many requests the ring holds."""
        return self.ring.nr_entries

    @property
    def owed(self) -> int:
        """Requests taken whose response was not put."""
        return back_owed(&self.ring)

    def put(self, response: bytes) -> None:
        """Put the response to a request that was taken.  It is published by `push`."""
        self.check_fits(back_owed(&self.ring), response)
        back_put(&self.ring, <const char *>response, len(response))

    def push(self) -> bool:
        """Publish the responses put so far; answers whether to notify the front end."""
        self.check_attached()
        return back_push(&self.ring)

    cdef uint32_t entry_size(self):
        return self.ring.entry_size

    cdef int waiting(self):
        return back_waiting(&self.ring)

    cdef int waiting_at_rest(self):
        return back_rest(&self.ring)

    cdef void take_one(self, void *entry, uint32_t size):
        back_take(&self.ring, entry, size)

    cdef indices(self):
        return (f"req_prod {self.ring.sring.req_prod:#x} with req_cons {self.ring.req_cons:#x} and "
                f"rsp_prod {self.ring.rsp_prod:#x} in a ring of {self.ring.nr_entries}")


cdef class Front(_End):
    """The front end: makes the ring, puts requests, takes responses.  The arguments are those of Back."""

    cdef FrontRing ring

    def __init__(self, pages: Buffer, entry_size: int) -> None:
        self.pages = _Pages(pages, entry_size)
        front_create(&self.ring, self.pages.buffer.buf, self.pages.buffer.len, entry_size)

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
        self.check_fits(front_free(&self.ring), request)
        front_put(&self.ring, <const char *>request, len(request))

    def push(self) -> bool:
        """Publish the requests put so far; answers whether to notify the back end."""
        self.check_attached()
        return front_push(&self.ring)

    cdef uint32_t entry_size(self):
        return self.ring.entry_size

    cdef int waiting(self):
        return front_waiting(&self.ring)

    cdef int waiting_at_rest(self):
        return front_rest(&self.ring)

    cdef void take_one(self, void *entry, uint32_t size):
        front_take(&self.ring, entry, size)

    cdef indices(self):
        return (f"rsp_prod {self.ring.sring.rsp_prod:#x} with rsp_cons {self.ring.rsp_cons:#x} and "
                f"req_prod {self.ring.req_prod:#x} in a ring of {self.ring.nr_entries}")
