"""Frames one by one through a descriptor, each behind struct virtio_net_hdr in the host's order: a TAP of Linux, a
macvtap, a raw socket on an interface (interfaces.py opens them).

What the kernel refuses of a frame, because it makes no sense or the interface is down or full, is dropped and counted,
as a wire drops it.
"""

from libc.errno cimport EAGAIN, EINTR, ENETDOWN, errno
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from posix.unistd cimport read
from xenia.net.frame cimport BATCH, LEAST_BYTES, MOST_BYTES, MOST_PARTS, Frame, VnetHeader, iovec
from xenia.net.link cimport Link, is_possible, write_parts
from xenia.machine.loop cimport POLLIN, POLLOUT, PollSet

cdef enum:
    PACKET = sizeof(VnetHeader) + MOST_BYTES
    ARRIVED = 512 * 1024            # a batch of frames of the usual length, and several of the greatest
    BATCHES = 8                     # in one round, before others have their turn


cdef class PacketLink(Link):
    """A link through such a descriptor, which belongs to it."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self.source.lendable = True
        self.arrived = <uint8_t *>malloc(ARRIVED)
        if self.arrived == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.arrived)

    cdef int put(self, Frame *frames, int count) noexcept nogil:
        cdef iovec parts[1 + MOST_PARTS]
        cdef int index
        for index in range(count):
            parts[0].iov_base, parts[0].iov_len = &frames[index].header, sizeof(VnetHeader)
            memcpy(&parts[1], frames[index].parts, frames[index].nr_parts * sizeof(iovec))
            if write_parts(self.descriptor, parts, 1 + frames[index].nr_parts) >= 0:
                self.nr_sent += 1
                self.sent_bytes += frames[index].length
            elif errno == EAGAIN:
                return index
            else:
                self.nr_dropped += 1
        return count

    cdef void fill(self, PollSet polls) noexcept nogil:
        self.polled = polls.add(self.descriptor, POLLIN | POLLOUT if self.blocked else POLLIN) if self.carries else -1

    cdef void serve(self, PollSet polls) noexcept nogil:
        cdef short happened = polls.happened(self.polled)
        cdef int left = BATCHES
        if happened & POLLOUT:
            self.end_wait()
        if happened & ~POLLOUT:
            while left and self.receive():
                left -= 1

    cdef bint receive(self) noexcept nogil:
        """Deliver one batch; whether there may be more."""
        cdef Frame frames[BATCH]
        cdef iovec parts[BATCH]
        cdef uint8_t *at = self.arrived
        cdef int nr_frames = 0
        cdef ssize_t count = 0
        while nr_frames < BATCH and at + PACKET <= self.arrived + ARRIVED:
            count = read(self.descriptor, at, PACKET)
            if count <= 0:
                break
            memcpy(&frames[nr_frames].header, at, sizeof(VnetHeader))
            count -= sizeof(VnetHeader)
            if count < LEAST_BYTES or not is_possible(&frames[nr_frames].header, count):
                self.nr_refused += 1
                continue
            frames[nr_frames].length = parts[nr_frames].iov_len = count
            parts[nr_frames].iov_base = at + sizeof(VnetHeader)
            frames[nr_frames].nr_parts, frames[nr_frames].parts = 1, &parts[nr_frames]
            nr_frames += 1
            self.nr_received += 1
            self.received_bytes += count
            at += sizeof(VnetHeader) + count
        if count < 0 and errno != EAGAIN and errno != EINTR and errno != ENETDOWN:
            self.forget("the interface is gone: {1}", errno)
            count = 0
        if nr_frames:
            self.deliver(frames, nr_frames)
        return count > 0
