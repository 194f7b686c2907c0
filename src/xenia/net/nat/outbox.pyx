"""Frames on their way from the stack to the guests.

The stack makes frames in the middle of what it does, with its lock held, and nobody may be called then.  So they wait
here, each with a copy of its bytes, until the lock is let go, and leave in batches.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset
from xenia.net.checksum cimport ipv4_checksum
from xenia.net.frame cimport BATCH
from xenia.net.parse cimport ETHERTYPE_IPV4, ETHERTYPE_IPV6, big16, put16, put32

cdef enum:
    ETHERNET = 14
    IPV6 = 40
    FRAGMENT_HEADER = 8
    FRAGMENTATION = 44
    PADDING = 2                     # so that what follows an Ethernet header is aligned


cdef Parcel *parcel_new(uint32_t length) noexcept nogil:
    cdef Parcel *parcel = <Parcel *>malloc(sizeof(Parcel) + PADDING + length)
    if parcel != NULL:
        memset(parcel, 0, sizeof(Parcel))
        parcel.part.iov_base, parcel.part.iov_len = <uint8_t *>(parcel + 1) + PADDING, length
        parcel.frame.length, parcel.frame.nr_parts, parcel.frame.parts = length, 1, &parcel.part
    return parcel


cdef size_t parcel_size(const Parcel *parcel) noexcept nogil:
    return sizeof(Parcel) + PADDING + parcel.frame.length


cdef void outbox_init(Outbox *outbox) noexcept nogil:
    memset(outbox, 0, sizeof(Outbox))
    outbox.last = &outbox.first


cdef Parcel *outbox_add(Outbox *outbox, uint32_t length) noexcept nogil:
    cdef Parcel *parcel = NULL
    if outbox.waiting + length <= MOST_WAITING:
        parcel = parcel_new(length)
    if parcel == NULL:
        outbox.nr_dropped += 1
        return NULL
    outbox.last[0] = parcel
    outbox.last = &parcel.next
    outbox.waiting += parcel_size(parcel)
    return parcel


cdef int outbox_take(Outbox *outbox, Parcel **parcels) noexcept nogil:
    cdef int count = 0
    while outbox.first != NULL and count < BATCH:
        parcels[count] = outbox.first
        outbox.waiting -= parcel_size(outbox.first)
        outbox.first = outbox.first.next
        count += 1
    if outbox.first == NULL:
        outbox.last = &outbox.first
    return count


cdef void outbox_clear(Outbox *outbox) noexcept nogil:
    cdef Parcel *parcel
    while outbox.first != NULL:
        parcel = outbox.first
        outbox.first = parcel.next
        free(parcel)
    outbox_init(outbox)


cdef void outbox_fragment(Outbox *outbox, const uint8_t *to, const uint8_t *frame, uint32_t length, uint16_t mtu,
                          uint32_t identification) noexcept nogil:
    cdef uint32_t header, each, at, size
    cdef bint four = big16(frame + 12) == ETHERTYPE_IPV4
    cdef Parcel *parcel
    cdef uint8_t *copy
    cdef uint16_t checksum
    if not four and (big16(frame + 12) != ETHERTYPE_IPV6 or length < ETHERNET + IPV6):
        outbox.nr_dropped += 1
        return
    header = ETHERNET + ((frame[ETHERNET] & 15) * 4 if four else IPV6)
    each = (mtu - (header - ETHERNET) - (0 if four else FRAGMENT_HEADER)) & ~7
    at = header
    while at < length:
        size = min(each, length - at)
        parcel = outbox_add(outbox, header + (0 if four else FRAGMENT_HEADER) + size)
        if parcel == NULL:
            return
        copy = <uint8_t *>parcel.part.iov_base
        memcpy(copy, frame, header)
        memcpy(copy, to, 6)
        if four:
            put16(copy + ETHERNET + 2, header - ETHERNET + size)
            put16(copy + ETHERNET + 4, identification & 0xFFFF)
            put16(copy + ETHERNET + 6, (at - header) // 8 | (0x2000 if at + size < length else 0))
            memset(copy + ETHERNET + 10, 0, 2)
            checksum = ipv4_checksum(copy + ETHERNET)
            memcpy(copy + ETHERNET + 10, &checksum, 2)
            memcpy(copy + header, frame + at, size)
        else:
            put16(copy + ETHERNET + 4, FRAGMENT_HEADER + size)
            copy[header], copy[header + 1] = frame[ETHERNET + 6], 0
            copy[ETHERNET + 6] = FRAGMENTATION
            put16(copy + header + 2, (at - header) | (1 if at + size < length else 0))
            put32(copy + header + 4, identification)
            memcpy(copy + header + FRAGMENT_HEADER, frame + at, size)
        at += size
