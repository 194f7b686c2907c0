# Frames that wait for their guest's pages, by who sent them.  See kept.pyx.
from libc.stdint cimport int64_t, uint32_t
from xenia.backends.vif.steering cimport Hash
from xenia.net.frame cimport Frame, iovec

cdef enum:
    MOST_KEPT = 2 << 20         # bytes; a sender alone has half of them
    SENDERS = 32                # that are told apart

cdef struct Kept:               # a frame that waits, its bytes after it
    Kept *next
    Frame frame
    Hash hash
    iovec part

cdef struct Sender:             # what waits of its frames, oldest first
    Kept *first
    Kept *last                  # where there is a first one
    uint32_t size, count
    int64_t left                # of its turn; below zero: of its next one

# Zeroed memory is of nothing.
cdef struct Line:
    Sender senders[SENDERS]
    uint32_t nonempty           # which of them have something, a bit each
    uint32_t size               # all together, in bytes
    int turn                    # whose it is

# Keep a copy behind the others of its sender.  False: there is no room.
cdef bint line_keep(Line *line, const Frame *frame, const Hash *hash) noexcept nogil
# The frame whose turn it is; NULL: none waits.
cdef Kept *line_first(Line *line) noexcept nogil
# Forget that one.
cdef void line_drop(Line *line) noexcept nogil
# Forget what waits of the one whose turn it is, but for the latest frames; how many those were that went.
cdef uint32_t line_thin(Line *line) noexcept nogil
# Which of the senders a frame is of.
cdef uint32_t sender_of(const Frame *frame) noexcept nogil
