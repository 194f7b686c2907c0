# Room for stubs, and who makes them: see stubs.pyx.
from xenia.cpu.engines.native.stub cimport Arena


cdef class Stubs:
    cdef Arena *arena
