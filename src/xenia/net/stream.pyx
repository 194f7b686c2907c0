"""Frames over a stream socket, each after its length in 4 bytes, the most significant first.

So speak QEMU (`-netdev stream`, `-netdev socket`), passt and gvproxy.  Between processes of ours struct virtio_net_hdr
comes first within that length, in the host's order, so that a frame of 64 KB crosses in one piece and unsummed.

Elsewhere frames are cut and summed first, and segments that came are made one again, and verified (coalesce.pyx).

Who has a share of the loop's time (share.pyx) is read for so long in one turn, and then waits, with what it sent, until
it may again.

A frame of which the socket took a part is finished before the next one; the rest is copied, for the frame is its
sender's.  A peer whose lengths make no sense is let go, for nothing after them can be found.
"""

import os

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove, memset
from posix.unistd cimport close, read
from xenia.machine.lock cimport lock, unlock
from xenia.net.coalesce cimport Coalesced, coalesce
from xenia.net.frame cimport BATCH, LEAST_BYTES, MOST_BYTES, Frame, VnetHeader, iovec
from xenia.net.link cimport Link, is_possible, write_parts
from xenia.machine.loop cimport POLLIN, POLLOUT, PollSet, monotonic
from xenia.net.parse cimport big32, put32
from xenia.net.segment cimport Segments, is_plain, segment_begin, segment_next
from xenia.net.share cimport Share, waste

cdef extern from *:
    """
    #include <sys/socket.h>
    """
    int accept4(int fd, void *address, void *length, int flags) nogil
    enum:
        SOCK_NONBLOCK, SOCK_CLOEXEC

cdef enum:
    PREFIX = 4
    LONGEST_HEAD = 14               # with a struct virtio_net_hdr
    ARRIVED = 512 * 1024            # as much as a socket pair holds, and several frames of the greatest length
    BEGUN = 512 * 1024              # the segments of a frame, with their headers
    IOV_MAX = 1024                  # linux/uio.h: UIO_MAXIOV
    READS = 32                      # in one round, before others have their turn
    MOST_READ = 128 * 1024          # bytes of one of them: a few thousand of the shortest frames
    TURN = 1024                     # frames, after which it ends with the one it has begun
    FEW = 4                         # frames that are handed on at once where others wait


cdef class StreamLink(Link):
    """A link over a stream socket, which belongs to it.

    descriptor   the socket, connected; -1: none yet
    vnet         whether struct virtio_net_hdr comes before each frame
    listener     a socket that listens: whoever connects is the peer, one after the other
    share        of the time of the loop that serves it; None: as much as it likes
    """

    def __cinit__(self):
        self.listener = self.polled = self.listened = -1

    def __init__(self, descriptor: int = -1, *, vnet: bool = False, listener: int = -1,
                 Share share = None) -> None:
        super().__init__(descriptor)
        self.header_bytes = sizeof(VnetHeader) if vnet else 0
        self.arrived, self.begun = <uint8_t *>malloc(ARRIVED), <uint8_t *>malloc(BEGUN)
        self.cut = <Segments *>malloc(sizeof(Segments))
        self.joined = <Coalesced *>malloc(sizeof(Coalesced))
        if self.arrived == NULL or self.begun == NULL or self.cut == NULL or self.joined == NULL:
            raise MemoryError
        if listener >= 0:
            os.set_blocking(listener, False)
        self.listener = listener
        self.share = share
        # A vcpu's thread accepts nobody, and counts nobody's time.
        self.source.lendable = listener < 0 and share is None

    def __dealloc__(self):
        free(self.arrived)
        free(self.begun)
        free(self.cut)
        free(self.joined)
        if self.listener >= 0:
            close(self.listener)

    def close(self) -> None:
        super().close()
        if self.listener >= 0:
            os.close(self.listener)
            self.listener = -1

    def resume(self, descriptor: int) -> None:
        """Go on over another socket, after the peer of the last one is gone.  ValueError where there still is one."""
        cdef int number = descriptor
        cdef bint there
        os.set_blocking(descriptor, False)
        with nogil:
            lock(&self.lock)
            there = self.carries
            if not there:
                self.descriptor = number
                self.nr_arrived = self.looked_at = self.whole = self.begun_first = self.begun_end = 0
                self.carries, self.broken = True, False
                self.source.tell()
            unlock(&self.lock)
        if there:
            raise ValueError("the link has a peer")

    cdef void fill(self, PollSet polls) noexcept nogil:
        cdef short events = POLLIN
        self.polled = self.listened = -1
        if self.carries:
            if self.share is not None and not self.share.earn(monotonic()):
                events = 0
                polls.wake_at(self.share.due())
            elif self.whole:
                polls.wake_at(0)
            if self.blocked:
                events |= POLLOUT
            if events:                  # or one that hung up would wake the loop all the time
                self.polled = polls.add(self.descriptor, events)
        elif self.listener >= 0:
            self.listened = polls.add(self.listener, POLLIN)

    cdef void serve(self, PollSet polls) noexcept nogil:
        cdef short happened = polls.happened(self.polled)
        cdef bint finished
        if happened & POLLOUT:
            lock(&self.lock)
            finished = self.finish()
            unlock(&self.lock)
            if finished:
                self.end_wait()
        if happened & ~POLLOUT or self.carries and self.whole:
            self.receive()
        if polls.happened(self.listened):
            self.accept_peer()

    cdef void accept_peer(self) noexcept nogil:
        cdef int peer = accept4(self.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if peer < 0:
            return
        lock(&self.lock)
        self.descriptor = peer
        self.nr_arrived = self.looked_at = self.whole = self.begun_first = self.begun_end = 0
        self.carries, self.broken = True, False
        unlock(&self.lock)
        self.source.tell()

    # --- sending: under the lock -------------------------------------------------------------------------------------

    cdef int put(self, Frame *frames, int count) noexcept nogil:
        cdef int taken = 0, run, more
        while taken < count and self.finish():
            run = 0
            while taken + run < count and (self.header_bytes or is_plain(&frames[taken + run])):
                run += 1
            more = self.put_some(frames + taken, run) if run else self.put_cut(frames + taken)
            taken += more
            if more == 0:
                break
        return taken

    cdef int put_cut(self, Frame *frame) noexcept nogil:
        """Write the segments of one frame; where some are written, all are, or kept."""
        cdef int done, more
        cdef bint any_written = False
        if not segment_begin(self.cut, frame, 0, 0):
            self.nr_dropped += 1
            return 1
        while segment_next(self.cut):
            done = 0
            while done < self.cut.count:
                more = self.put_some(self.cut.frames + done, self.cut.count - done) if self.finish() else 0
                if more == 0 and not any_written:
                    return 0
                if more == 0:
                    self.keep_all(self.cut.frames + done, self.cut.count - done)
                    more = self.cut.count - done
                any_written = True
                done += more
        return 1

    cdef int put_some(self, Frame *frames, int count) noexcept nogil:
        """Write as many as one call may be given: how many were taken, one that was half written among them."""
        cdef iovec parts[IOV_MAX]
        cdef uint8_t heads[BATCH][LONGEST_HEAD]
        cdef int first[BATCH + 1]
        cdef int index, end = 0
        cdef size_t length
        cdef ssize_t written
        first[0] = 0
        while end < min(count, <int>BATCH) and first[end] + 1 + frames[end].nr_parts <= IOV_MAX:
            length = self.header_bytes + frames[end].length
            put32(heads[end], length)
            memcpy(&heads[end][PREFIX], &frames[end].header, self.header_bytes)
            index = first[end]
            parts[index].iov_base, parts[index].iov_len = &heads[end][0], PREFIX + self.header_bytes
            memcpy(&parts[index + 1], frames[end].parts, frames[end].nr_parts * sizeof(iovec))
            end += 1
            first[end] = index + 1 + frames[end - 1].nr_parts
        written = write_parts(self.descriptor, parts, first[end])
        if written < 0:
            if errno == EAGAIN:
                return 0
            self.nr_dropped += end      # the loop's thread will find out why
            return end
        for index in range(end):
            length = PREFIX + self.header_bytes + frames[index].length
            if written == 0:
                return index
            self.nr_sent += 1
            self.sent_bytes += frames[index].length
            if <size_t>written < length:
                self.keep(&parts[first[index]], first[index + 1] - first[index], written)
                return index + 1
            written -= length
        return end

    cdef void keep_all(self, Frame *frames, int count) noexcept nogil:
        """Behind what is kept already."""
        cdef int index, part
        cdef uint32_t length
        for index in range(count):
            length = frames[index].length
            if self.begun_end + PREFIX + length > BEGUN:
                self.nr_dropped += 1
                continue
            put32(self.begun + self.begun_end, length)
            self.begun_end += PREFIX
            for part in range(<int>frames[index].nr_parts):
                memcpy(self.begun + self.begun_end, frames[index].parts[part].iov_base,
                       frames[index].parts[part].iov_len)
                self.begun_end += frames[index].parts[part].iov_len
            self.nr_sent += 1
            self.sent_bytes += length

    cdef void keep(self, iovec *parts, int count, size_t written) noexcept nogil:
        """What follows the first so many bytes of a frame."""
        cdef int index
        cdef size_t skipped
        for index in range(count):
            skipped = min(written, parts[index].iov_len)
            written -= skipped
            memcpy(self.begun + self.begun_end, <uint8_t *>parts[index].iov_base + skipped,
                   parts[index].iov_len - skipped)
            self.begun_end += parts[index].iov_len - skipped

    cdef bint finish(self) noexcept nogil:
        """Write the rest of a frame that was half written; whether none is left."""
        cdef iovec rest
        cdef ssize_t written
        while self.begun_first < self.begun_end:
            rest.iov_base, rest.iov_len = self.begun + self.begun_first, self.begun_end - self.begun_first
            written = write_parts(self.descriptor, &rest, 1)
            if written < 0:
                if errno == EAGAIN:
                    return False
                written = rest.iov_len
            self.begun_first += written
        self.begun_first = self.begun_end = 0
        return True

    # --- what comes: on the loop's thread ----------------------------------------------------------------------------

    cdef void receive(self) noexcept nogil:
        cdef int64_t now, allowed
        cdef uint64_t wasted
        if self.share is None:
            self.read_on(INT64_MAX)
            return
        now = monotonic()
        allowed = self.share.begin(now)
        if allowed:
            wasted = waste(0)
            self.read_on(now + allowed)
            self.share.charge(monotonic() - now, waste(0) - wasted)

    cdef void read_on(self, int64_t until) noexcept nogil:
        cdef ssize_t count
        cdef size_t room
        cdef uint64_t last = self.nr_received + self.nr_refused + TURN
        if self.whole and not self.take_apart(until):
            return
        for _ in range(READS):
            if self.whole or self.nr_received + self.nr_refused >= last or until != INT64_MAX and self.is_over(until):
                return
            room = min(ARRIVED - self.nr_arrived, <size_t>MOST_READ)
            count = read(self.descriptor, self.arrived + self.nr_arrived, room)
            if count <= 0:
                if count == 0:
                    self.forget("the peer closed the connection", 0)
                elif errno != EAGAIN and errno != EINTR:
                    self.forget("the connection broke: {1}", errno)
                return
            self.nr_arrived += count
            if not self.take_apart(until) or <size_t>count < room:
                return

    cdef bint is_over(self, int64_t until) noexcept nogil:
        cdef int64_t now = monotonic()
        return now >= until or self.share.is_held(now)

    cdef bint take_apart(self, int64_t until) noexcept nogil:
        """Deliver the frames that are there; False where what came is no frame, and the peer was let go."""
        cdef Frame frames[BATCH]
        cdef iovec parts[BATCH]
        cdef uint8_t *at = self.arrived + self.looked_at
        cdef uint8_t *end = self.arrived + self.nr_arrived
        cdef size_t length = 0
        cdef int count = 0, most = BATCH if until == INT64_MAX or self.share.others() == 0 else FEW
        cdef bint sound = True
        self.whole = False
        while at + PREFIX <= end:
            length = big32(at)
            sound = self.header_bytes < length <= self.header_bytes + MOST_BYTES
            if not sound or <size_t>(end - at) < PREFIX + length:
                break
            if count == 0 and until != INT64_MAX and self.is_over(until):
                self.whole = True
                break
            if self.take(&frames[count], &parts[count], at + PREFIX, length):
                count += 1
                if count == most:
                    self.come(frames, count)
                    count = 0
            at += PREFIX + length
        if count:
            self.come(frames, count)
        if not sound:
            self.forget("the peer sent a frame of {0} bytes", length)
            return False
        self.looked_at = at - self.arrived
        if not self.whole:
            self.nr_arrived = end - at
            memmove(self.arrived, at, self.nr_arrived)
            self.looked_at = 0
        return True

    cdef void come(self, Frame *frames, int count) noexcept nogil:
        if self.header_bytes:
            self.deliver(frames, count)
        else:
            coalesce(self.joined, frames, count)
            self.deliver(self.joined.frames, self.joined.count)

    cdef bint take(self, Frame *frame, iovec *part, uint8_t *data, size_t length) noexcept nogil:
        memset(&frame.header, 0, sizeof(VnetHeader))
        memcpy(&frame.header, data, self.header_bytes)
        frame.length = part.iov_len = length - self.header_bytes
        part.iov_base = data + self.header_bytes
        frame.nr_parts, frame.parts = 1, part
        if frame.length < LEAST_BYTES or not is_possible(&frame.header, frame.length):
            self.nr_refused += 1
            waste(1)
            return False
        self.nr_received += 1
        self.received_bytes += frame.length
        return True
