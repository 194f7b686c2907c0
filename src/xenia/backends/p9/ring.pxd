# A ring of Xen's 9pfs at work: a guest's requests to a file server's socket, and its answers back.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from xenia.abi.p9 cimport xen_9pfs_data_intf_t
from xenia.foreign.frames cimport Frames
from xenia.machine.lock cimport Lock
from xenia.machine.loop cimport PollSet, Source

cdef enum:
    MOST_PEERS = 3
    MOST_FLUSHES = 64
    NR_TAGS = 1 << 16

cdef struct Flush:              # a Tflush that was taken from the ring and not sent yet
    uint16_t tag, old
    bint is_new                 # it is not known yet what of the other rings' has to come before it
    uint32_t requests[MOST_PEERS]       # up to there they have to be sent
    uint32_t answers[MOST_PEERS]        # and up to there they have to be taken by the guest, once is_answered
    bint is_answered[MOST_PEERS]

cdef class DataRing(Source):
    cdef Frames frames
    cdef object on_fault
    cdef Py_buffer page, data
    cdef bint has_page, has_data
    cdef volatile xen_9pfs_data_intf_t *interface
    cdef uint8_t *answers       # in
    cdef uint8_t *requests      # out
    cdef uint32_t size          # bytes of each
    cdef uint32_t port
    cdef int event_fd, socket
    cdef int event_index, socket_index      # in this round
    cdef void *listening
    cdef Lock taking            # of the way from the guest
    cdef uint32_t out_cons
    cdef uint32_t boundary      # where the next message begins of which it is not known how long it is
    cdef Flush flushes[MOST_FLUSHES]
    cdef volatile int nr_flushes
    cdef bint is_behind         # the guest has yet to take an answer before a flush is sent
    cdef bint has_more          # not all was taken
    cdef volatile uint8_t unseen        # there is something to look at that no descriptor tells
    cdef uint8_t *asked         # by tag: 1 where the answer by this ring is still to come
    cdef tuple siblings         # the mount's other rings
    cdef void *peers[MOST_PEERS]
    cdef int nr_peers
    cdef bint is_full           # the socket takes no more just now
    cdef uint32_t in_prod
    cdef uint32_t begun         # bytes behind in_prod that are not published, because their message is not whole
    cdef bint is_starved        # the guest has no room for what comes
    cdef volatile uint8_t closing
    cdef const char *reason
    cdef bint is_shut           # that is told
    cdef uint64_t counts[5]
    cdef void take(self, bint *notify) noexcept nogil
    cdef void look_ahead(self, uint32_t waiting) noexcept nogil
    cdef bint send(self, uint32_t ready) noexcept nogil
    cdef bint hold_flush(self, uint32_t waiting) noexcept nogil
    cdef bint is_due(self, Flush *flush) noexcept nogil
    cdef bint is_over(self, Flush *flush, int index, bint *is_behind) noexcept nogil
    cdef void send_flushes(self) noexcept nogil
    cdef void wake_peers(self) noexcept nogil
    cdef void copy_request(self, uint8_t *to, uint32_t start, uint32_t size) noexcept nogil
    cdef void put(self, bint *notify) noexcept nogil
    cdef bint publish(self) noexcept nogil
    cdef bint answer_guest(self) noexcept nogil
    cdef bint look(self) noexcept nogil
    cdef void look_soon(self) noexcept nogil
    cdef release(self)
