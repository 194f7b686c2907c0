# One guest's stack of protocols: a libslirp of its own.  See stack.pyx.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from xenia.net.frame cimport Frame
from xenia.machine.loop cimport PollSet, pollfd
from xenia.net.nat.endings cimport Endings
from xenia.net.nat.flows cimport Flows
from xenia.net.nat.gate cimport Gate, Verdict
from xenia.net.nat.outbox cimport Outbox
from xenia.net.nat.segments cimport SegmentSizes
from xenia.net.nat.slirp cimport Slirp, SlirpCb, SlirpConfig
from xenia.net.nat.timers cimport TIMERS, Timer
from xenia.net.pace cimport Pace
from xenia.net.parse cimport Headers
from xenia.net.share cimport Share

cdef enum:
    MOST_PINS = 64

# What all stacks of one way out have in common; its lock guards it.
cdef struct Common:
    Outbox outbox
    uint64_t *macs                  # of who sent from an address, by its place in the subnet; 0: nobody did
    uint32_t identification
    uint16_t mtu
    int64_t told                    # when a stack was polled last
    uint8_t pins[MOST_PINS][16]     # addresses that forwards lead to, though nobody is known to have them
    uint8_t pin_sizes[MOST_PINS]
    int nr_pins


cdef class Stack:
    cdef Gate gate
    cdef Flows flows
    cdef Common *common
    cdef SegmentSizes segments
    cdef Endings endings
    cdef Share share                # of the loop's time; None: as much as it likes
    cdef uint64_t mac               # whose it is; 0: of all that have none
    cdef Pace refused               # what it is told of packets that go nowhere
    cdef Pace addressed             # its questions who has which address
    cdef Pace leased                # those to our DHCP server
    cdef Pace asked_us              # those to all our servers
    cdef Slirp *slirp
    cdef SlirpCb callbacks
    cdef Timer timers[TIMERS]
    cdef const Headers *looked_at   # of the packet that the stack is given right now
    cdef bint unsent                # the stack has packets for a guest whose MAC it was just told
    # Its sockets, as it said last what it waits for.
    cdef pollfd *sockets
    cdef int nr_sockets, room
    cdef uint32_t asked             # how often it was
    cdef bint touched               # it has not been, since something happened
    cdef int64_t due                # when its timers are
    cdef int first                  # index of the first one in this round; -1: in `epoll`
    cdef int polled                 # of `epoll`
    cdef object poll                # for many
    cdef int epoll                  # its descriptor
    cdef int64_t until              # its turn
    cdef int resumes_at             # sockets before this one had theirs
    cdef int stopped_at             # the first one that had none; -1: all had
    cdef begin(self, Common *common, uint64_t mac)
    cdef void end(self) noexcept nogil
    cdef void configure(self, SlirpConfig *config) noexcept nogil
    # A guest's packet, in one piece.
    cdef void take(self, uint8_t *whole, Headers *headers, const Frame *frame, int64_t now) noexcept nogil
    # Whether it may be answered now, of what asks for an answer.
    cdef bint may_ask(self, const Headers *headers, Verdict verdict, int64_t now) noexcept nogil
    cdef bint resolve(self, const uint8_t *request, uint32_t length) noexcept nogil
    cdef void send_unsent(self) noexcept nogil
    cdef void let_end(self, const Headers *headers) noexcept nogil
    cdef void emit(self, const uint8_t *bytes, uint32_t length) noexcept nogil
    cdef void fill(self, PollSet polls, int64_t now) noexcept nogil
    cdef void ask(self) noexcept nogil
    cdef void listen(self) noexcept nogil
    cdef int64_t serve(self, PollSet polls, int64_t now) noexcept nogil         # what time it is then
    cdef bint look(self, PollSet polls) noexcept nogil
    cdef int add(self, int fd, short events) noexcept nogil
    cdef short happened(self, int index) noexcept nogil
