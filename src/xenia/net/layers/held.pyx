"""Frames that are kept for later: copies, so many at the most, as a heap by the time at which they are due."""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset
from xenia.net.frame cimport Frame


cdef bint held_has_room(Held *held, uint64_t length) noexcept nogil:
    return held.count < MOST_HELD and held.nr_bytes + length <= MOST_HELD_BYTES


cdef bint held_keep(Held *held, const Frame *frame, int64_t due) noexcept nogil:
    cdef HeldFrame *kept
    cdef HeldFrame **larger
    cdef uint8_t *data
    cdef uint32_t part, size, left = frame.length
    if held.count == held.room:
        larger = <HeldFrame **>realloc(held.heap, (2 * held.room + 64) * sizeof(HeldFrame *))
        if larger == NULL:
            return False
        held.heap, held.room = larger, 2 * held.room + 64
    kept = <HeldFrame *>malloc(sizeof(HeldFrame) + frame.length)
    if kept == NULL:
        return False
    data = <uint8_t *>(kept + 1)
    kept.due, kept.order = due, held.nr_kept
    held.nr_kept += 1
    kept.frame.header = frame.header
    kept.frame.length, kept.frame.nr_parts, kept.frame.parts = frame.length, 1, &kept.part
    kept.part.iov_base, kept.part.iov_len = data, frame.length
    for part in range(frame.nr_parts):
        size = <uint32_t>min(<size_t>left, frame.parts[part].iov_len)
        memcpy(data, frame.parts[part].iov_base, size)
        data += size
        left -= size
    memset(data, 0, left)
    held_return(held, kept)
    return True


cdef inline bint before(const HeldFrame *one, const HeldFrame *other) noexcept nogil:
    return one.due < other.due or (one.due == other.due and one.order < other.order)


cdef void held_return(Held *held, HeldFrame *frame) noexcept nogil:
    cdef int at = held.count, parent
    held.count += 1
    held.nr_bytes += frame.frame.length
    while at:
        parent = (at - 1) // 2
        if not before(frame, held.heap[parent]):
            break
        held.heap[at] = held.heap[parent]
        at = parent
    held.heap[at] = frame


cdef HeldFrame *held_take(Held *held, int64_t now) noexcept nogil:
    cdef HeldFrame *first
    cdef HeldFrame *last
    cdef int at = 0, child
    if held.count == 0 or held.heap[0].due > now:
        return NULL
    first = held.heap[0]
    held.count -= 1
    held.nr_bytes -= first.frame.length
    last = held.heap[held.count]
    while True:
        child = 2 * at + 1
        if child >= held.count:
            break
        if child + 1 < held.count and before(held.heap[child + 1], held.heap[child]):
            child += 1
        if not before(held.heap[child], last):
            break
        held.heap[at] = held.heap[child]
        at = child
    held.heap[at] = last
    return first


cdef int64_t held_next(Held *held) noexcept nogil:
    return held.heap[0].due if held.count else INT64_MAX


cdef void held_drop_all(Held *held) noexcept nogil:
    cdef int index
    for index in range(held.count):
        free(held.heap[index])
    free(held.heap)
    held.heap = NULL
    held.count = held.room = 0
    held.nr_bytes = 0
