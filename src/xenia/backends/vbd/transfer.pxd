# Requests carried out on a descriptor: plain data, no Python.
from xenia.backends.vbd.request cimport Op

cdef bint follows(Op *op, Op *before) noexcept nogil            # whether one call can carry both out
# Read or write a request and those merged into it: 0, or an errno.  With RWF_NOWAIT a part may have been done; doing it
# again does no harm.
cdef int transfer(int fd, Op *op, int flags) noexcept nogil
cdef int punch(int fd, Op *op) noexcept nogil                   # carry a discard out
