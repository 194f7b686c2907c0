# What all links to elsewhere have in common.  See link.pyx.
from libc.stdint cimport uint64_t
from xenia.machine.lock cimport Lock
from xenia.net.frame cimport Frame, VnetHeader, iovec
from xenia.machine.loop cimport PollSet, Source
from xenia.net.port cimport Port

cdef class Link


cdef class LinkSource(Source):
    cdef Link link


cdef class Link(Port):
    cdef readonly LinkSource source     # for the loop on whose thread frames come
    cdef list listeners                 # to its carrier
    cdef Lock lock                      # "link": guards what `send` writes, and what follows
    cdef int descriptor                 # -1: none, now
    cdef volatile bint carries
    cdef volatile bint blocked          # `send` took less than it was given
    cdef bint broken                    # it ended for `why`, and a number to it
    cdef const char *why
    cdef long number
    cdef uint64_t nr_sent, sent_bytes, nr_dropped
    cdef uint64_t nr_received, received_bytes, nr_refused       # of the loop's thread
    # With the lock held, and a carrier: how many the kernel takes, from the first on; the others are blocked.
    cdef int put(self, Frame *frames, int count) noexcept nogil
    cdef void fill(self, PollSet polls) noexcept nogil          # for its source
    cdef void serve(self, PollSet polls) noexcept nogil
    cdef void end_wait(self) noexcept nogil                     # who was refused may send again, and is told so
    # With the lock held: nothing comes or goes any more.
    cdef void lose(self, const char *why, long number) noexcept nogil
    # The same without it, and who is refused may send again: it will be dropped.
    cdef void forget(self, const char *why, long number) noexcept nogil


# A peer's word on what a frame still needs: whether that is possible within so many bytes.
cdef bint is_possible(const VnetHeader *header, size_t length) noexcept nogil
# writev(2).
cdef ssize_t write_parts(int descriptor, iovec *parts, int count) noexcept nogil
