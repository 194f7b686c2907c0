# Frames over a stream of bytes.  See stream.pyx.
from libc.stdint cimport int64_t, uint8_t
from xenia.net.coalesce cimport Coalesced
from xenia.net.frame cimport Frame, iovec
from xenia.net.link cimport Link
from xenia.net.segment cimport Segments
from xenia.net.share cimport Share


cdef class StreamLink(Link):
    cdef int listener               # where the next peer comes from; -1: from nowhere
    cdef int header_bytes           # before each frame, within its length
    cdef int polled, listened       # indices of this round
    cdef uint8_t *arrived           # what was read and is no whole frame yet
    cdef size_t nr_arrived
    cdef size_t looked_at           # of them, bytes that were taken apart
    cdef bint whole                 # a whole frame follows
    cdef Share share                # of its loop's time; None: as much as it likes
    cdef uint8_t *begun             # the rest of a frame that was half written
    cdef size_t begun_first, begun_end
    cdef Segments *cut
    cdef Coalesced *joined          # of a batch without headers
    cdef void come(self, Frame *frames, int count) noexcept nogil
    cdef int put_cut(self, Frame *frame) noexcept nogil
    cdef int put_some(self, Frame *frames, int count) noexcept nogil
    cdef void keep_all(self, Frame *frames, int count) noexcept nogil
    cdef void keep(self, iovec *parts, int count, size_t written) noexcept nogil
    cdef bint finish(self) noexcept nogil
    cdef void receive(self) noexcept nogil
    cdef void read_on(self, int64_t until) noexcept nogil
    cdef bint is_over(self, int64_t until) noexcept nogil       # its turn
    cdef bint take_apart(self, int64_t until) noexcept nogil
    cdef bint take(self, Frame *frame, iovec *part, uint8_t *data, size_t length) noexcept nogil
    cdef void accept_peer(self) noexcept nogil
