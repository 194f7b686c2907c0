# The connections that guests have to the world.  See flows.pyx.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from xenia.net.pace cimport Pace
from xenia.net.parse cimport Headers

cdef enum:
    GUESTS = 1024                   # that have any, and are told apart
    BUCKETS = 131072
    HALF_OPEN = 256                 # connections of one guest that nobody has answered yet
    BURST = 2048                    # new ones of one guest at once
    INTERVAL = 200000               # ns between two of them in the long run


cdef struct Flow:                   # of a socket, by its descriptor
    bint there
    uint8_t protocol                # 0: none is known
    uint8_t size                    # of an address
    uint16_t guest_port, remote_port
    uint16_t owner
    uint32_t bucket
    uint8_t guest[16]
    uint8_t remote[16]
    int64_t since
    bint half                       # nobody has answered yet
    short polled                    # what an epoll waits for (stack.pyx)
    uint32_t asked, index           # the same


cdef enum Admission:
    ADMITTED
    FULL                            # the guest has as many as it may have
    HURRIED                         # it may have more, but later


cdef struct Owner:
    uint64_t mac                    # 0: nobody
    uint32_t count
    uint32_t half
    Pace begun


cdef class Flows:
    cdef Flow *flows
    cdef int room                   # descriptors
    cdef uint32_t most              # of one guest
    cdef Owner owners[GUESTS]
    cdef uint16_t buckets[BUCKETS]  # how many UDP sockets of guests there are whose address and port fall on each
    cdef uint32_t count
    # Whether what this packet is to begin, if anything, may be begun.
    cdef Admission admits(self, const Headers *headers, int64_t now) noexcept nogil
    # A socket is there, because of this packet of a guest's; or NULL: somebody connected from outside.
    cdef void begin(self, int fd, const Headers *headers, int64_t now) noexcept nogil
    cdef void end(self, int fd) noexcept nogil
    # Somebody answered, or never will.
    cdef void connected(self, int fd) noexcept nogil
    # Hang up that guest's connections of TCP: its peers hear it at once.  Other sockets end by themselves, in minutes.
    cdef void hang_up(self, uint64_t mac) noexcept nogil
    cdef bint is_half_open(self, int fd) noexcept nogil         # nobody has answered yet
    cdef Flow *of(self, int fd) noexcept nogil                  # NULL: there is no room for that one
    cdef int owner_of(self, const uint8_t *mac) noexcept nogil
    cdef uint32_t bucket_of(self, const Headers *headers) noexcept nogil
