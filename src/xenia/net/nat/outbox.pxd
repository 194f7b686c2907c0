# Frames on their way from the stack to the guests.  See outbox.pyx.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from xenia.net.frame cimport Frame, iovec

cdef enum:
    MOST_WAITING = 32 << 20         # bytes


cdef struct Parcel:                 # its bytes come after it
    Parcel *next
    Frame frame
    iovec part


cdef struct Outbox:
    Parcel *first
    Parcel **last
    size_t waiting                  # bytes that it takes
    uint64_t nr_dropped


# One with room for a frame of that length, and how many bytes it takes; NULL: there is no memory.
cdef Parcel *parcel_new(uint32_t length) noexcept nogil
cdef size_t parcel_size(const Parcel *parcel) noexcept nogil
cdef void outbox_init(Outbox *outbox) noexcept nogil
# Room for a frame of that length, at the end; NULL, and counted: there is too much.
cdef Parcel *outbox_add(Outbox *outbox, uint32_t length) noexcept nogil
# Take the first ones out, at most BATCH; how many.
cdef int outbox_take(Outbox *outbox, Parcel **parcels) noexcept nogil
cdef void outbox_clear(Outbox *outbox) noexcept nogil
# Put in a frame that is longer than an Ethernet frame may be, as fragments of its IP datagram that are not; `to`: the
# MAC that they go to.
cdef void outbox_fragment(Outbox *outbox, const uint8_t *to, const uint8_t *frame, uint32_t length, uint16_t mtu,
                          uint32_t identification) noexcept nogil
