# Ethernet frames on their way, many at a time: plain structs over somebody's memory, no Python.
#
# The first HEAD bytes of a frame, or all where it is shorter, are contiguous in its first part, and nobody changes them
# while the frame is looked at: whoever makes one of a guest's memory has copied them.  The rest may be a guest's, which
# may change it at any moment, so it is copied and summed but never believed.  A frame and what it names are its
# maker's, and last as long as the call that they are given to.
#
# What a frame still needs done is said by struct virtio_net_hdr of linux/virtio_net.h, fields in the host's order, as a
# TAP takes it: a checksum that is to be filled in, a TCP segment that is to be cut.  Every port takes every frame;
# whoever puts one where that cannot be said cuts and sums first (segment.pxd).
from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len

cdef enum:
    HEAD = 256
    MOST_BYTES = 65535 + 18         # an IP datagram of the greatest length, an Ethernet header, a VLAN tag
    LEAST_BYTES = 14                # an Ethernet header
    MOST_PARTS = 48                 # 64 KB of segments that arrived one by one
    BATCH = 64                      # frames that are handed on in one call at the most

cdef enum:                          # VnetHeader.flags
    NEEDS_CSUM = 1
    DATA_VALID = 2

cdef enum:                          # VnetHeader.gso_type
    GSO_NONE = 0
    GSO_TCPV4 = 1
    GSO_UDP = 3
    GSO_TCPV6 = 4
    GSO_ECN = 0x80

cdef struct VnetHeader:
    uint8_t flags
    uint8_t gso_type
    uint16_t hdr_len
    uint16_t gso_size               # payload bytes of each segment
    uint16_t csum_start             # from the frame's first byte
    uint16_t csum_offset            # from csum_start

cdef struct Frame:
    VnetHeader header
    uint32_t length                 # bytes from the destination's address on, without the FCS
    uint32_t nr_parts
    iovec *parts                    # their lengths make `length`
    uint32_t port                   # the number of the bridge's port that it came in by last; said by a bridge only
