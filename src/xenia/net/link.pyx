"""What all links to elsewhere have in common: a descriptor, a carrier, counters, and a place in a loop.

Frames are sent on the sender's thread, under the link's lock, and come on the loop's thread.  Where the kernel takes no
more, `send` takes fewer, and who sent is told by the loop's thread as soon as it takes again.  A link without a carrier
takes all, and drops it, as a cable that nobody plugged in.
"""

import os
from collections.abc import Callable

from libc.errno cimport EINTR, errno
from libc.stdint cimport uint8_t
from posix.unistd cimport close
from xenia.machine.lock cimport RANK_LINK, lock, lock_init, unlock
from xenia.net.frame cimport (
    GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, LEAST_BYTES, NEEDS_CSUM, Frame, VnetHeader, iovec,
)
from xenia.machine.loop cimport PollSet, Source
from xenia.net.port cimport Port

cdef extern from *:
    """
    #include <sys/uio.h>
    """
    ssize_t pwritev2(int fd, const iovec *parts, int count, long offset, int flags) nogil


cdef ssize_t write_parts(int descriptor, iovec *parts, int count) noexcept nogil:
    # Under the name that the thread of a vcpu may call already.
    cdef ssize_t written = pwritev2(descriptor, parts, count, -1, 0)
    while written < 0 and errno == EINTR:
        written = pwritev2(descriptor, parts, count, -1, 0)
    return written


cdef bint is_possible(const VnetHeader *header, size_t length) noexcept nogil:
    cdef uint8_t gso = header.gso_type & ~GSO_ECN
    cdef bint sums = header.flags & NEEDS_CSUM
    if sums and (header.csum_start < LEAST_BYTES or header.csum_start + header.csum_offset + 2 > length):
        return False
    return gso == GSO_NONE or ((gso == GSO_TCPV4 or gso == GSO_TCPV6) and sums and header.gso_size > 0)


cdef class LinkSource(Source):
    """A link as what a loop serves."""

    cdef void fill(self, PollSet polls) noexcept nogil:
        if self.link is not None:
            self.link.fill(polls)

    cdef void serve(self, PollSet polls) noexcept nogil:
        if self.link is not None:
            self.link.serve(polls)

    cdef void notice(self) noexcept:
        cdef Link link = self.link
        if link is not None:
            for call in list(link.listeners):
                call(link.carries)


cdef class Link(Port):
    """A link to elsewhere.  Its `source` is for a loop, on whose thread frames come."""

    def __cinit__(self):
        self.descriptor = -1
        lock_init(&self.lock, RANK_LINK)

    def __init__(self, descriptor: int = -1) -> None:
        self.source = LinkSource()
        self.source.link = self
        self.listeners = []
        if descriptor >= 0:
            os.set_blocking(descriptor, False)
            self.carries = True
        self.descriptor = descriptor

    def __dealloc__(self):
        if self.descriptor >= 0:
            close(self.descriptor)

    def close(self) -> None:
        """Leave the loop, and close.  Again does nothing.  Not on the loop's thread.  Precondition: nobody is at it."""
        if self.source.loop is not None:
            self.source.loop.remove(self.source)
            self.source.loop = None
        self.listeners.clear()
        with nogil:
            lock(&self.lock)
            self.lose("it was closed", 0)
            unlock(&self.lock)
        self.source.link = None

    def on_carrier(self, call: Callable[[bool], object]) -> None:
        """Have that called, too, with what `carrier` is, soon after it changed.

        It is called on the loop's thread, which it must neither keep nor wait for, and which may ask the host for no
        more than its kind may.
        """
        self.listeners.append(call)

    @property
    def carrier(self) -> bool:
        """Whether somebody is at the other end."""
        return self.carries

    @property
    def reason(self) -> str | None:
        """Why the carrier was lost; None where it is there, or never was."""
        if not self.broken:
            return None
        why = (<bytes>self.why).decode()
        return why.format(self.number, os.strerror(self.number) if "{1}" in why else "")

    @property
    def statistics(self) -> dict[str, int]:
        """Frames and bytes sent and received; frames dropped for want of a carrier, and refused as nonsense."""
        return {
            "sent": self.nr_sent, "sent_bytes": self.sent_bytes, "dropped": self.nr_dropped,
            "received": self.nr_received, "received_bytes": self.received_bytes, "refused": self.nr_refused,
        }

    cdef int send(self, Frame *frames, int count) noexcept nogil:
        cdef int taken
        lock(&self.lock)
        if not self.carries:
            self.nr_dropped += count
            taken = count
        else:
            taken = self.put(frames, count)
            if taken < count:
                self.blocked = True
                self.source.wake()
        unlock(&self.lock)
        return taken

    cdef int put(self, Frame *frames, int count) noexcept nogil:
        return count

    cdef void fill(self, PollSet polls) noexcept nogil:
        pass

    cdef void serve(self, PollSet polls) noexcept nogil:
        pass

    cdef void end_wait(self) noexcept nogil:
        cdef bint waited
        lock(&self.lock)
        waited = self.blocked
        self.blocked = False
        unlock(&self.lock)
        if waited:
            self.ready()

    cdef void forget(self, const char *why, long number) noexcept nogil:
        lock(&self.lock)
        self.lose(why, number)
        unlock(&self.lock)
        self.end_wait()

    cdef void lose(self, const char *why, long number) noexcept nogil:
        if self.descriptor >= 0:
            close(self.descriptor)
            self.descriptor = -1
        if self.carries:
            self.carries = False
            self.why, self.number = why, number
            self.broken = True
            self.source.tell()
