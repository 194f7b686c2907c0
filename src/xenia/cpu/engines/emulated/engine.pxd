# The `emulated` engine: guest code runs in Unicorn (QEMU's TCG), on any host.
from xenia.cpu.processor cimport Processor


cdef class EmulatedEngine:
    cdef Processor *processor
    cdef object memory
