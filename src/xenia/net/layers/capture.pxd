# What goes by, into a file.  See capture.pyx.
from xenia.net.frame cimport Frame
from xenia.net.layer cimport Layer
from xenia.net.layers.recording cimport Claim, Recording


cdef class Capture(Layer):
    cdef volatile bint on
    cdef void *into                 # the Recording, or NULL; guarded by the lock
    cdef Recording recording        # the last one, which may have ended
    cdef str name
    cdef bytes mac
    cdef bint begin(self, Frame *frames, int count, int direction, Claim *claim) noexcept nogil
    cdef void become(self, void *into) noexcept nogil
