# A user-mode network's way out: a port behind which libslirp is.  See nat.pyx.
from libc.stdint cimport int64_t, uint8_t, uint64_t
from xenia.machine.lock cimport Lock
from xenia.net.frame cimport Frame
from xenia.machine.loop cimport PollSet, Source
from xenia.net.nat.asides cimport Asides
from xenia.net.nat.flows cimport Flows
from xenia.net.nat.fragments cimport Fragments
from xenia.net.nat.gate cimport Gate, Verdict
from xenia.net.nat.stack cimport Common, Stack
from xenia.net.parse cimport Headers
from xenia.net.port cimport Port
from xenia.net.share cimport Share

cdef enum:
    PLACES = 4096
    MOST_STACKS = 1024


cdef class Nat


cdef class NatSource(Source):
    cdef Nat nat


cdef struct Counters:
    uint64_t frames_in, bytes_in, frames_out, bytes_out
    uint64_t dropped, spoofed, refused, full, hurried


cdef class Nat(Port):
    cdef readonly NatSource source
    cdef readonly Gate gate
    cdef Flows flows
    cdef Fragments fragments
    cdef Asides asides
    cdef Lock lock                  # "nat": guards all that follows, and the stacks
    cdef dict stacks_by_mac
    cdef dict led                   # the addresses that the first stack's forwards lead to, by protocol and host's end
    cdef void **stacks              # the same; the first one is of all others
    cdef int nr_stacks
    cdef void *places[PLACES]       # the same, by their MACs' hashes
    cdef Common common
    cdef bint leaving               # somebody delivers what is in the outbox
    cdef uint8_t *whole             # the packet that is looked at right now, in one piece
    cdef Counters counters
    cdef unsigned long thread       # the loop's
    cdef new_stack(self, uint64_t mac, Share share)
    cdef become(self, dict stacks)
    cdef Stack stack_of(self, bytes mac, str address)
    cdef void *place_of(self, const Headers *headers) noexcept nogil
    cdef void pin(self, const void *address, int size, bint pinned) noexcept nogil
    cdef uint64_t heard_from(self, str address)
    cdef void take(self, Frame *frame, int64_t now) noexcept nogil
    cdef void answer(self, Headers *headers, const Frame *frame, Verdict verdict, int64_t now) noexcept nogil
    cdef void take_fragment(self, const Headers *headers, int64_t now) noexcept nogil
    cdef void take_in(self, Headers *headers, const Frame *frame, int64_t now) noexcept nogil
    cdef void meter(self, void *stack, int64_t now) noexcept nogil
    cdef void refuse(self, const Headers *headers) noexcept nogil
    cdef void leave(self) noexcept nogil
    cdef void fill(self, PollSet polls) noexcept nogil
    cdef void serve(self, PollSet polls) noexcept nogil
