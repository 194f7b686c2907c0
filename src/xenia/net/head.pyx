"""A frame with a head of one's own: the checksum that it asks for filled in, a VLAN tag put in or taken away.

The head is kept in the middle of `bytes`, TAG_BYTES from its beginning: a tag is put in by moving the two addresses
down.  It is TAG_BYTES longer than HEAD, so that HEAD bytes are there when a tag is gone.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memmove
from xenia.net.checksum cimport checksum_asked
from xenia.net.frame cimport HEAD, MOST_PARTS, NEEDS_CSUM, Frame, iovec
from xenia.net.parse cimport ETHERTYPE_VLAN, put16

cdef enum:
    ADDRESSES = 12                  # bytes of both


cdef int slice_parts(const Frame *frame, uint32_t start, uint32_t end, iovec *parts, int room) noexcept nogil:
    cdef uint32_t part, at = 0, first, size
    cdef int count = 0
    for part in range(frame.nr_parts):
        if at >= end:
            break
        size = <uint32_t>frame.parts[part].iov_len
        if at + size > start:
            if count == room:
                return -1
            first = start - at if start > at else 0
            parts[count].iov_base = <uint8_t *>frame.parts[part].iov_base + first
            parts[count].iov_len = min(size, end - at) - first
            count += 1
        at += size
    return count


cdef void copy_parts(const Frame *frame, uint32_t start, uint32_t end, uint8_t *to) noexcept nogil:
    cdef iovec parts[MOST_PARTS]
    cdef int part
    for part in range(slice_parts(frame, start, end, parts, MOST_PARTS)):
        memcpy(to, parts[part].iov_base, parts[part].iov_len)
        to += parts[part].iov_len


cdef bint own_frame(OwnFrame *own, const Frame *frame) noexcept nogil:
    cdef uint32_t size = min(frame.length, <uint32_t>(HEAD + TAG_BYTES))
    cdef int count = slice_parts(frame, size, frame.length, own.parts + 1, MOST_PARTS - 1)
    if count < 0:
        return False
    copy_parts(frame, 0, size, own.bytes + TAG_BYTES)
    own.frame = frame[0]
    own.frame.parts, own.frame.nr_parts = own.parts, count + 1
    own.parts[0].iov_base, own.parts[0].iov_len = own.bytes + TAG_BYTES, size
    return True


cdef bint own_checksum(OwnFrame *own) noexcept nogil:
    cdef uint16_t checksum
    cdef uint32_t at
    if not own.frame.header.flags & NEEDS_CSUM:
        return True
    if not checksum_asked(&own.frame, &checksum, &at):
        return False
    memcpy(<uint8_t *>own.parts[0].iov_base + at, &checksum, 2)
    own.frame.header.flags &= ~NEEDS_CSUM
    return True


cdef void own_tag(OwnFrame *own, uint16_t tci) noexcept nogil:
    cdef uint8_t *head = <uint8_t *>own.parts[0].iov_base
    memmove(head - TAG_BYTES, head, ADDRESSES)
    put16(head - TAG_BYTES + ADDRESSES, ETHERTYPE_VLAN)
    put16(head - TAG_BYTES + ADDRESSES + 2, tci)
    moved(own, -TAG_BYTES)


cdef void own_untag(OwnFrame *own) noexcept nogil:
    cdef uint8_t *head = <uint8_t *>own.parts[0].iov_base
    memmove(head + TAG_BYTES, head, ADDRESSES)
    moved(own, TAG_BYTES)


cdef void moved(OwnFrame *own, int by) noexcept nogil:
    own.parts[0].iov_base = <uint8_t *>own.parts[0].iov_base + by
    own.parts[0].iov_len -= by
    own.frame.length -= by
    if own.frame.header.flags & NEEDS_CSUM:
        own.frame.header.csum_start -= by
    if own.frame.header.hdr_len:
        own.frame.header.hdr_len -= by
