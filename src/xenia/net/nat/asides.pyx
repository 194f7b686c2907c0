"""Packets for our own servers, on their way to Python: few at a time, fewer of one guest; too many are dropped."""

import os

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy
from posix.unistd cimport close, read, write


cdef class Asides:
    """What waits, oldest first."""

    def __cinit__(self):
        self.descriptor = -1

    def __init__(self) -> None:
        self.slots = <uint8_t (*)[SLOT_BYTES]>malloc(SLOTS * SLOT_BYTES)
        if self.slots == NULL:
            raise MemoryError
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def __dealloc__(self):
        free(self.slots)
        if self.descriptor >= 0:
            close(self.descriptor)

    cdef bint put(self, const uint8_t *frame, uint32_t length) noexcept nogil:
        cdef uint32_t slot = (self.first + self.count) % SLOTS
        cdef uint64_t one = 1
        if self.count == SLOTS or length > SLOT_BYTES or self.waiting_of(frame + 6) >= SHARE:
            self.nr_dropped += 1
            return False
        memcpy(self.slots[slot], frame, length)
        self.lengths[slot] = length
        self.count += 1
        write(self.descriptor, &one, 8)
        return True

    cdef uint32_t waiting_of(self, const uint8_t *mac) noexcept nogil:
        cdef uint32_t index, found = 0
        for index in range(self.count):
            found += memcmp(self.slots[(self.first + index) % SLOTS] + 6, mac, 6) == 0
        return found

    def take(self) -> list[bytes]:
        """All of them, each a frame."""
        cdef uint64_t drained
        cdef uint32_t slot
        read(self.descriptor, &drained, 8)
        taken = []
        while self.count:
            slot = self.first
            taken.append(<bytes>(<const char *>self.slots[slot])[:self.lengths[slot]])
            self.first = (slot + 1) % SLOTS
            self.count -= 1
        return taken
