# What each exit of a PV guest's vcpu means.
from xenia.cpu.processor cimport Exit

cdef int on_exit(void *vcpu, Exit *exit) noexcept nogil     # Processor.on_exit; `vcpu` is a Vcpu
