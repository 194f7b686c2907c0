"""A port that keeps what the one below does not take yet: for networks, which nobody can tell to wait.

A frame that is lost on its way to a guest costs its connection far more than waiting does, and guests' sockets hold
little.  What is kept ends at a bound (outbox.pxd), after which frames are dropped and counted.
"""

from libc.stdlib cimport free
from libc.string cimport memcpy
from xenia.machine.lock cimport RANK_LAYER, lock, lock_init, unlock
from xenia.net.frame cimport BATCH, Frame
from xenia.net.nat.outbox cimport Parcel, outbox_add, outbox_clear, outbox_init, outbox_take
from xenia.net.port cimport Port, Receiver


cdef class Backlog(Port):
    """Over `lower`, which it attaches to and closes."""

    def __cinit__(self):
        lock_init(&self.lock, RANK_LAYER)
        outbox_init(&self.kept)

    def __init__(self, Port lower not None) -> None:
        cdef Receiver receiver
        self.lower = lower
        receiver.self, receiver.deliver, receiver.ready = <void *>self, came, may_leave
        lower.attach(&receiver)

    def __dealloc__(self):
        cdef Parcel *parcel
        outbox_clear(&self.kept)
        while self.first != NULL:
            parcel = self.first
            self.first = parcel.next
            free(parcel)

    def close(self) -> None:
        if self.lower is not None:
            with nogil:
                self.lower.detach()
            self.lower.close()

    @property
    def dropped(self) -> int:
        """Frames for which there was no room."""
        return self.kept.nr_dropped

    @property
    def kept_bytes(self) -> int:
        """What waits now."""
        return self.kept.waiting

    cdef int send(self, Frame *frames, int count) noexcept nogil:
        cdef int index, taken = 0
        cdef bint direct
        lock(&self.lock)
        direct = not self.leaving and self.first == NULL and self.kept.first == NULL
        if direct:
            self.leaving = True
        unlock(&self.lock)
        if direct:
            taken = self.lower.send(frames, count)
        lock(&self.lock)
        for index in range(taken, count):
            self.keep(&frames[index])
        if direct:
            self.leaving = False
            # What another thread kept meanwhile leaves now, unless the port below says when it may.
            direct = self.again or taken == count and self.kept.first != NULL
        unlock(&self.lock)
        if direct:
            self.leave()
        return count

    cdef bint keep(self, const Frame *frame) noexcept nogil:
        cdef Parcel *parcel = outbox_add(&self.kept, frame.length)
        cdef unsigned int part
        cdef char *at
        if parcel == NULL:
            return False
        parcel.frame.header = frame.header
        at = <char *>parcel.part.iov_base
        for part in range(frame.nr_parts):
            memcpy(at, frame.parts[part].iov_base, frame.parts[part].iov_len)
            at += frame.parts[part].iov_len
        return True

    cdef void leave(self) noexcept nogil:
        """Send what is kept, in order, until the port below takes no more: one thread at a time, no lock held."""
        cdef Parcel *parcels[BATCH]
        cdef Frame frames[BATCH]
        cdef int index, count, taken
        while True:
            lock(&self.lock)
            if self.leaving:
                self.again = True
                unlock(&self.lock)
                return
            self.again = False
            count = 0
            while self.first != NULL and count < BATCH:
                parcels[count] = self.first
                self.first = self.first.next
                count += 1
            if count == 0:
                count = outbox_take(&self.kept, parcels)
            self.leaving = count > 0
            unlock(&self.lock)
            if count == 0:
                return
            for index in range(count):
                frames[index] = parcels[index].frame
            taken = self.lower.send(frames, count)
            for index in range(taken):
                free(parcels[index])
            lock(&self.lock)
            for index in range(count - 1, taken - 1, -1):
                parcels[index].next = self.first
                self.first = parcels[index]
            self.leaving = False
            if taken < count and not self.again:
                unlock(&self.lock)
                return
            unlock(&self.lock)


cdef void came(void *backlog, Frame *frames, int count) noexcept nogil:
    (<Backlog>backlog).deliver(frames, count)


cdef void may_leave(void *backlog) noexcept nogil:
    (<Backlog>backlog).leave()
