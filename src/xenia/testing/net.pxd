# Packets as frames and back.  See net.pyx.
from xenia.net.frame cimport BATCH, Frame, iovec


cdef class Batch:
    cdef Frame frames[BATCH]
    cdef iovec parts[2 * BATCH]
    cdef list held
    cdef int count


cdef object packet_of(const Frame *frame)
