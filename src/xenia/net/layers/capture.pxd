# What goes by, into a file.  See capture.pyx.
from xenia.net.layer cimport Layer


cdef class Capture(Layer):
    cdef volatile bint on
