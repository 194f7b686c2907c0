# A user-mode network's way out: a port behind which libslirp is.  See nat.pyx.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from xenia.machine.lock cimport Lock
from xenia.net.frame cimport Frame
from xenia.net.loop cimport PollSet, Source
from xenia.net.nat.asides cimport Asides
from xenia.net.nat.endings cimport Endings
from xenia.net.nat.flows cimport Flows
from xenia.net.nat.fragments cimport Fragments
from xenia.net.nat.gate cimport Gate
from xenia.net.nat.outbox cimport Outbox
from xenia.net.nat.segments cimport SegmentSizes
from xenia.net.nat.slirp cimport Slirp, SlirpCb, SlirpConfig
from xenia.net.nat.timers cimport TIMERS, Timer
from xenia.net.parse cimport Headers
from xenia.net.port cimport Port

cdef class Nat


cdef class NatSource(Source):
    cdef Nat nat


cdef struct Counters:
    uint64_t frames_in, bytes_in, frames_out, bytes_out
    uint64_t dropped, spoofed, refused, full


cdef class Nat(Port):
    cdef readonly NatSource source
    cdef readonly Gate gate
    cdef Flows flows
    cdef Fragments fragments
    cdef Asides asides
    cdef SegmentSizes segments
    cdef Endings endings
    cdef Lock lock                  # "nat": guards all that follows, and the stack
    cdef Slirp *slirp
    cdef SlirpCb callbacks
    cdef Timer timers[TIMERS]
    cdef Outbox outbox
    cdef bint leaving               # somebody delivers what is in the outbox
    cdef const Headers *looked_at   # of the packet that the stack is given right now
    cdef uint8_t *whole             # that packet, in one piece
    cdef uint64_t *macs             # of who sent from an address, by its place in the subnet; 0: nobody did
    cdef bint unsent                # the stack has packets for a guest whose MAC it was just told
    cdef uint16_t mtu
    cdef uint32_t identification
    cdef Counters counters
    cdef unsigned long thread       # the loop's
    cdef void configure(self, SlirpConfig *config) noexcept nogil
    cdef void take(self, Frame *frame, int64_t now) noexcept nogil
    cdef void take_fragment(self, const Headers *headers, int64_t now) noexcept nogil
    cdef void take_in(self, Headers *headers, const Frame *frame, int64_t now) noexcept nogil
    cdef bint resolve(self, const uint8_t *request, uint32_t length) noexcept nogil
    cdef void send_unsent(self) noexcept nogil
    cdef void let_end(self, const Headers *headers) noexcept nogil
    cdef void refuse(self, const Headers *headers) noexcept nogil
    cdef void emit(self, const uint8_t *bytes, uint32_t length) noexcept nogil
    cdef void leave(self) noexcept nogil
    cdef void fill(self, PollSet polls) noexcept nogil
    cdef void serve(self, PollSet polls) noexcept nogil
