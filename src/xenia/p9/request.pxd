# One request at work: what is left of its arguments, and its answer as far as it is written.  All numbers of the
# protocol are little-endian, as processors here are.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy

from xenia.p9.linux cimport Statx
from xenia.p9.message cimport NAME_SIZE

cdef struct Request:
    const uint8_t *at
    const uint8_t *end
    bint malformed              # it ended before its arguments did, or one cannot be
    uint8_t *put                # where the answer goes on
    uint8_t *limit
    uint16_t tag
    void *worker                # whose it is


cdef inline void get(Request *request, void *value, uint32_t size) noexcept nogil:
    cdef uint32_t index
    if request.end - request.at < <int64_t>size:
        request.malformed = True
        for index in range(size):
            (<uint8_t *>value)[index] = 0
        return
    memcpy(value, request.at, size)
    request.at += size


cdef inline uint16_t get16(Request *request) noexcept nogil:
    cdef uint16_t value
    get(request, &value, 2)
    return value


cdef inline uint32_t get32(Request *request) noexcept nogil:
    cdef uint32_t value
    get(request, &value, 4)
    return value


cdef inline uint64_t get64(Request *request) noexcept nogil:
    cdef uint64_t value
    get(request, &value, 8)
    return value


# A string into `text`, with a NUL; its length.
cdef inline uint32_t get_text(Request *request, char *text, uint32_t size) noexcept nogil:
    cdef uint32_t length = get16(request)
    text[0] = 0
    if request.malformed or length >= size or request.end - request.at < <int64_t>length or \
            memchr(request.at, 0, length) != NULL:
        request.malformed = True
        return 0
    memcpy(text, request.at, length)
    text[length] = 0
    request.at += length
    return length


# A name in a folder: one component that is neither the folder itself nor the one above.
cdef inline void get_name(Request *request, char *name) noexcept nogil:
    cdef uint32_t length = get_text(request, name, NAME_SIZE)
    if length == 0 or memchr(name, 47, length) != NULL or (name[0] == 46 and (
            length == 1 or (length == 2 and name[1] == 46))):
        request.malformed = True


# Precondition: there is room, as there is for every answer without data.
cdef inline void put(Request *request, const void *value, uint32_t size) noexcept nogil:
    memcpy(request.put, value, size)
    request.put += size


cdef inline void put8(Request *request, uint8_t value) noexcept nogil:
    put(request, &value, 1)


cdef inline void put16(Request *request, uint16_t value) noexcept nogil:
    put(request, &value, 2)


cdef inline void put32(Request *request, uint32_t value) noexcept nogil:
    put(request, &value, 4)


cdef inline void put64(Request *request, uint64_t value) noexcept nogil:
    put(request, &value, 8)


cdef inline void put_text(Request *request, const char *text, uint16_t length) noexcept nogil:
    put16(request, length)
    put(request, text, length)
