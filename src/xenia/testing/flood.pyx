"""Numbered frames by the million through two ports, for tests and measurements: all come, in their order."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from xenia.machine.lock cimport (
    RANK_RECEIVE, Condition, Lock, condition_signal_and_unlock, condition_wait, lock, lock_init, unlock,
)
from xenia.net.frame cimport BATCH, Frame, iovec
from xenia.net.port cimport Port, Receiver

cdef enum:
    NUMBER = 16                 # where it stands, behind an ethertype that nobody knows
    MOST = 2048


cdef class Flood:
    """From one port to another, with a card at each."""

    cdef Port source, target
    cdef Lock lock
    cdef Condition changed
    cdef uint64_t readies, nr_received, nr_wrong, total
    cdef uint8_t bytes[BATCH][MOST]
    cdef iovec parts[BATCH]
    cdef Frame frames[BATCH]

    def __init__(self, Port source not None, Port target not None) -> None:
        cdef Receiver receiver
        lock_init(&self.lock, RANK_RECEIVE)
        self.source, self.target = source, target
        receiver.self, receiver.deliver, receiver.ready = <void *>self, deliver, ready
        source.attach(&receiver)
        target.attach(&receiver)

    def send(self, count: int, size: int) -> None:
        """So many frames of that size, and wait until they came."""
        cdef uint64_t number = count
        cdef uint32_t length = size
        assert NUMBER + 8 <= size <= MOST
        with nogil:
            self.send_all(number, length)

    @property
    def wrong(self) -> int:
        """How many came that were not the next."""
        return self.nr_wrong

    def close(self) -> None:
        """Leave both ports."""
        with nogil:
            self.source.detach()
            self.target.detach()

    cdef void send_all(self, uint64_t count, uint32_t length) noexcept nogil:
        cdef uint64_t sent = 0, number, seen
        cdef int index, batch
        memset(self.frames, 0, sizeof(self.frames))
        lock(&self.lock)
        self.nr_received, self.total = 0, count
        unlock(&self.lock)
        while sent < count:
            batch = <int>min(count - sent, <uint64_t>BATCH)
            for index in range(batch):
                number = sent + index
                self.bytes[index][12], self.bytes[index][13] = 0x88, 0xB5
                memcpy(&self.bytes[index][NUMBER], &number, 8)
                self.parts[index].iov_base, self.parts[index].iov_len = self.bytes[index], length
                self.frames[index].length, self.frames[index].nr_parts = length, 1
                self.frames[index].parts = &self.parts[index]
            lock(&self.lock)
            seen = self.readies
            unlock(&self.lock)
            index = self.source.send(self.frames, batch)
            sent += index
            if index < batch:
                lock(&self.lock)
                while self.readies == seen:
                    condition_wait(&self.changed, &self.lock)
                unlock(&self.lock)
        lock(&self.lock)
        while self.nr_received < count:
            condition_wait(&self.changed, &self.lock)
        unlock(&self.lock)

    cdef void take(self, Frame *frames, int count) noexcept nogil:
        cdef int index
        cdef uint64_t number
        lock(&self.lock)
        for index in range(count):
            memcpy(&number, <uint8_t *>frames[index].parts[0].iov_base + NUMBER, 8)
            self.nr_wrong += number != self.nr_received
            self.nr_received += 1
        if self.nr_received >= self.total:
            condition_signal_and_unlock(&self.changed, True, &self.lock)
        else:
            unlock(&self.lock)

    cdef void go_on(self) noexcept nogil:
        lock(&self.lock)
        self.readies += 1
        condition_signal_and_unlock(&self.changed, True, &self.lock)


cdef void deliver(void *flood, Frame *frames, int count) noexcept nogil:
    (<Flood>flood).take(frames, count)


cdef void ready(void *flood) noexcept nogil:
    (<Flood>flood).go_on()
