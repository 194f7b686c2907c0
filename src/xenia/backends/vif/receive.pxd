# What a queue's guest is given.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from xenia.abi.netif cimport netif_extra_info_t
from xenia.backends.vif.depth cimport Depth
from xenia.backends.vif.kept cimport Line
from xenia.backends.vif.steering cimport Hash
from xenia.foreign.frames cimport Frames
from xenia.machine.lock cimport Lock
from xenia.net.frame cimport Frame, iovec
from xenia.net.segment cimport Segments
from xenia.rings.request cimport BackRing

cdef struct ReceivedCounts:     # see VifStats
    uint64_t received, received_bytes, received_gso, received_blank, received_summed, received_cut, received_late
    uint64_t received_dropped, received_errors, filtered, notifications

cdef struct Abilities:          # see Features
    bint sg, gso_tcpv4, gso_tcpv6, checksum_ipv4, checksum_ipv6
    uint32_t headroom

cdef struct Cursor:             # a frame on its way into pages
    iovec *part                 # the next byte's
    uint32_t at                 # and its place there


cdef class Receive:
    cdef Lock lock              # guards all that follows
    cdef BackRing ring
    cdef Frames frames
    cdef uint32_t event_port
    cdef int wake_fd            # written to where the queue's thread is to look at `fault`
    cdef Abilities abilities
    cdef ReceivedCounts counts
    cdef const char *fault
    cdef Line line              # what waits for the guest's pages
    cdef Depth depth            # of the ring
    cdef int64_t now
    cdef bint holds_back        # something waits that there are pages for
    cdef volatile uint8_t looks  # and the queue's thread calls `look` every PATIENCE
    cdef Segments segments      # of a frame that the guest cannot take as it is

    # From the network, on any thread.  `filtered`: how many more the card was not given.
    cdef void deliver(self, const Frame *frames, const Hash *hashes, int count, int filtered) noexcept nogil
    # With the lock held:
    # What waits, as far as the guest has pages for it; whether the guest is to be told.
    cdef bint drain(self) noexcept nogil
    cdef bint drain_now(self) noexcept nogil
    # The same on the queue's thread.
    cdef bint look(self) noexcept nogil
    # Forget what waits.
    cdef void end(self) noexcept nogil
    cdef void take(self, const Frame *frame, const Hash *hash) noexcept nogil
    cdef void cut(self, const Frame *frame, const Hash *hash, uint32_t most_bytes) noexcept nogil
    cdef void put_or_keep(self, const Frame *frame, const Hash *hash) noexcept nogil
    cdef bint put(self, const Frame *frame, const Hash *hash) noexcept nogil
    cdef void hold_back(self) noexcept nogil
    cdef void fill(self, const Frame *frame, const netif_extra_info_t *extras, uint32_t nr_extras) noexcept nogil
    cdef bint fill_page(self, uint32_t gref, Cursor *cursor, uint32_t count) noexcept nogil
    cdef void leave_headroom(self, uint32_t bytes) noexcept nogil
    cdef bint can_sum(self, const Frame *frame) noexcept nogil
    cdef void count(self, const Frame *frame, bint failed) noexcept nogil
    cdef bint push(self) noexcept nogil
    cdef void fail(self, const char *reason) noexcept nogil
