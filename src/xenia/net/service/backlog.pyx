"""A port that keeps what the one below does not take yet: for networks, which nobody can tell to wait.

A frame that is lost on its way to a guest costs its connection far more than waiting does, and guests' sockets hold
little.  What is kept ends at a bound, after which frames are dropped and counted.

Who floods a guest fills neither its card nor this: each of the bridge's ports that frames came in by has a queue of its
own.  They take turns, and one may keep no more than all together still have room for, so that there always is some for
another.
"""

from libc.stdint cimport uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy
from xenia.machine.lock cimport RANK_LAYER, lock, lock_init, unlock
from xenia.net.frame cimport BATCH, Frame
from xenia.net.nat.outbox cimport Parcel, parcel_new, parcel_size
from xenia.net.port cimport Port, Receiver
from xenia.net.share cimport waste

cdef enum:
    MOST_KEPT = 32 << 20            # bytes
    TURN = 64 * 1024                # bytes of a sender's, and
    EACH = 4096                     # how many a frame counts for beyond its own: what a guest does for each


cdef class Backlog(Port):
    """Over `lower`, which it attaches to and closes."""

    def __cinit__(self):
        lock_init(&self.lock, RANK_LAYER)

    def __init__(self, Port lower not None) -> None:
        cdef Receiver receiver
        self.lower = lower
        receiver.self, receiver.deliver, receiver.ready = <void *>self, came, may_leave
        lower.attach(&receiver)

    def __dealloc__(self):
        cdef Parcel *parcel = self.take()
        while parcel != NULL:
            free(parcel)
            parcel = self.take()

    def close(self) -> None:
        if self.lower is not None:
            with nogil:
                self.lower.detach()
            self.lower.close()

    @property
    def dropped(self) -> int:
        """Frames for which there was no room."""
        return self.nr_dropped

    @property
    def kept_bytes(self) -> int:
        """What waits now."""
        return self.waiting

    cdef int send(self, Frame *frames, int count) noexcept nogil:
        cdef int index, taken = 0
        cdef bint direct
        lock(&self.lock)
        direct = not self.leaving and not self.nonempty
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
            direct = self.again or taken == count and self.nonempty
        unlock(&self.lock)
        if direct:
            self.leave()
        return count

    cdef void keep(self, const Frame *frame) noexcept nogil:
        cdef Kept *kept = &self.kept[frame.port % SENDERS]
        cdef Parcel *parcel = NULL
        cdef unsigned int part
        cdef char *at
        if kept.waiting + self.waiting <= MOST_KEPT:
            parcel = parcel_new(frame.length)
        if parcel == NULL:
            self.nr_dropped += 1
            waste(1)
            return
        parcel.frame.header, parcel.frame.port = frame.header, frame.port
        at = <char *>parcel.part.iov_base
        for part in range(frame.nr_parts):
            memcpy(at, frame.parts[part].iov_base, frame.parts[part].iov_len)
            at += frame.parts[part].iov_len
        if kept.first == NULL:
            kept.first = parcel
            self.nonempty |= <uint64_t>1 << frame.port % SENDERS
        else:
            kept.last.next = parcel
        kept.last = parcel
        kept.waiting += parcel_size(parcel)
        self.waiting += parcel_size(parcel)

    cdef Parcel *take(self) noexcept nogil:
        cdef Parcel *parcel
        cdef Kept *kept = &self.kept[self.turn]
        if not self.nonempty:
            return NULL
        if kept.first == NULL or self.left <= 0:
            self.turn = (self.turn + 1) % SENDERS
            while not self.nonempty >> self.turn & 1:
                self.turn = (self.turn + 1) % SENDERS
            self.left = TURN
            kept = &self.kept[self.turn]
        parcel = kept.first
        kept.first = parcel.next
        if kept.first == NULL:
            self.nonempty &= ~(<uint64_t>1 << self.turn)
        kept.waiting -= parcel_size(parcel)
        self.waiting -= parcel_size(parcel)
        self.left -= parcel.frame.length + EACH
        return parcel

    cdef void put_back(self, Parcel *parcel) noexcept nogil:
        cdef Kept *kept = &self.kept[parcel.frame.port % SENDERS]
        parcel.next = kept.first
        if kept.first == NULL:
            kept.last = parcel
            self.nonempty |= <uint64_t>1 << parcel.frame.port % SENDERS
        kept.first = parcel
        kept.waiting += parcel_size(parcel)
        self.waiting += parcel_size(parcel)
        if parcel.frame.port % SENDERS == <uint64_t>self.turn:
            self.left += parcel.frame.length + EACH

    cdef void leave(self) noexcept nogil:
        """Send what is kept, each sender's in order, until the port below takes no more: one thread at a time, no lock
        held."""
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
            while count < BATCH and self.nonempty:
                parcels[count] = self.take()
                frames[count] = parcels[count].frame
                count += 1
            self.leaving = count > 0
            unlock(&self.lock)
            if count == 0:
                return
            taken = self.lower.send(frames, count)
            for index in range(taken):
                free(parcels[index])
            lock(&self.lock)
            for index in range(count - 1, taken - 1, -1):
                self.put_back(parcels[index])
            self.leaving = False
            if taken < count and not self.again:
                unlock(&self.lock)
                return
            unlock(&self.lock)


cdef void came(void *backlog, Frame *frames, int count) noexcept nogil:
    (<Backlog>backlog).deliver(frames, count)


cdef void may_leave(void *backlog) noexcept nogil:
    (<Backlog>backlog).leave()
