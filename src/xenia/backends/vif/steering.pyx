"""Which frames of the network a card is given, and on which of its queues: by the hash that the frontend set, or by one
of our own.

Toeplitz's hash over addresses and ports is that of receive-side scaling, as every card with several queues has it
(netif.h, "Hash types").  A fragment and a protocol other than TCP are hashed by their addresses alone.  A frontend
changes key and mapping while frames come; whatever a frame meets halfway, its queue is one that is there.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from xenia.abi.netif cimport XEN_NETIF_CTRL_HASH_ALGORITHM_NONE, XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ
from xenia.backends.vif.multicast cimport Multicast
from xenia.net.frame cimport Frame, iovec
from xenia.net.parse cimport FRAGMENT, KIND_IPV4, PROTOCOL_TCP, Headers, flow_hash, ip_source, parse_frame

cdef extern from *:
    """
    #include <stdint.h>
    static inline void frames_add(volatile uint64_t *frames, uint64_t count)
    { __atomic_fetch_add(frames, count, __ATOMIC_RELAXED); }
    """
    void frames_add(volatile uint64_t *frames, uint64_t count) noexcept nogil

cdef enum:
    MOST_HASHED = 36


cdef uint32_t toeplitz(const uint8_t *key, const uint8_t *data, uint32_t length) noexcept nogil:
    # netif.h: the upper half of `window` is what the next bit that is 1 adds.
    cdef uint64_t window = 0, sum = 0
    cdef uint32_t i, bit
    for i in range(8):
        window = window << 8 | key[i]
    for i in range(length):
        for bit in range(8):
            if data[i] & 0x80 >> bit:
                sum ^= window
            window <<= 1
        if i + 8 < MOST_KEY_BYTES:
            window |= key[i + 8]
    return <uint32_t>(sum >> 32)


cdef class Steering:
    """What the frontend of one card asked for."""

    def __init__(self) -> None:
        self.multicast = Multicast()

    def steer(self, data: bytes, nr_queues: int) -> tuple[int, tuple[int, int] | None]:
        """Where a frame goes: its queue, and type and value of its hash if the frontend set one that is told."""
        cdef iovec part
        cdef Frame frame
        cdef Hash hash
        cdef uint32_t queue
        part.iov_base, part.iov_len = <void *><const char *>data, len(data)
        frame.length, frame.nr_parts, frame.parts = len(data), 1, &part
        queue = self.queue_of(&frame, nr_queues, &hash)
        return queue, (hash.type, hash.value) if hash.algorithm else None

    def clear(self) -> None:
        """As a card is whose frontend asked for nothing."""
        self.multicast.clear()
        self.reset()

    @property
    def settings(self) -> tuple[int, int, bytes, list[int]]:
        """Algorithm, types, key and mapping."""
        key = bytes([self.key[i] for i in range(MOST_KEY_BYTES)])
        return self.algorithm, self.types, key, [self.mapping[i] for i in range(<int>self.nr_mapped)]

    def go_on(self, algorithm: int, types: int, key: bytes, mapping: list[int]) -> None:
        """Take `settings` up."""
        cdef int i
        self.reset()
        for i in range(MOST_KEY_BYTES):
            self.key[i] = key[i] if i < len(key) else 0
        for i in range(min(len(mapping), MOST_MAPPED)):
            self.mapping[i] = mapping[i]
        self.nr_mapped = min(len(mapping), MOST_MAPPED)
        self.algorithm = algorithm
        self.types = types & ALL_HASH_TYPES

    @property
    def carrier(self) -> bool:
        """Whether frames go anywhere."""
        return not self.down

    @carrier.setter
    def carrier(self, up: bool) -> None:
        self.down = not up

    @property
    def swallowed(self) -> int:
        """Frames that went nowhere."""
        return self.swallowed_frames

    cdef bint swallows(self, int count) noexcept nogil:
        if not self.down:
            return False
        frames_add(&self.swallowed_frames, count)
        return True

    cdef bint wants(self, const uint8_t *address) noexcept nogil:
        return self.multicast.wants(address)

    cdef bint join(self, const uint8_t *address) noexcept nogil:
        return self.multicast.add(address)

    cdef void leave(self, const uint8_t *address) noexcept nogil:
        self.multicast.remove(address)

    cdef uint32_t queue_of(self, const Frame *frame, uint32_t nr_queues, Hash *hash) noexcept nogil:
        cdef uint8_t hashed[MOST_HASHED]
        cdef uint8_t key[MOST_KEY_BYTES]
        cdef uint32_t types = self.types, algorithm = self.algorithm, nr_mapped = self.nr_mapped, size, number, i
        cdef bint with_ports
        cdef Headers headers
        hash.algorithm = XEN_NETIF_CTRL_HASH_ALGORITHM_NONE
        hash.value = 0
        if algorithm != XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ or types == 0:
            if nr_queues <= 1:
                return 0
            parse_frame(frame, &headers)
            return flow_hash(&headers, 0) % nr_queues
        parse_frame(frame, &headers)
        size = 8 if headers.kind == KIND_IPV4 else 32
        if headers.kind >= KIND_IPV4 and headers.network + size + (12 if size == 8 else 8) <= headers.nr_bytes:
            number = 0 if headers.kind == KIND_IPV4 else 2      # of the bit of IPV4 or IPV6; that with TCP follows
            with_ports = (types & 2 << number and headers.protocol == PROTOCOL_TCP and headers.transport
                          and not headers.flags & FRAGMENT)
            if with_ports or types & 1 << number:
                memcpy(hashed, ip_source(&headers), size)
                if with_ports:
                    memcpy(hashed + size, headers.bytes + headers.transport, 4)
                for i in range(MOST_KEY_BYTES):
                    key[i] = self.key[i]
                hash.type = number + with_ports
                hash.algorithm = algorithm
                hash.value = toeplitz(key, hashed, size + 4 * with_ports)
        number = hash.value
        if 0 < nr_mapped <= MOST_MAPPED:
            number = self.mapping[number % nr_mapped]
        return number % nr_queues if nr_queues else 0

    cdef void reset(self) noexcept nogil:
        cdef int i
        self.algorithm = self.types = self.nr_mapped = 0
        for i in range(MOST_KEY_BYTES):
            self.key[i] = 0
        for i in range(MOST_MAPPED):
            self.mapping[i] = 0
