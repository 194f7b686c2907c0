# What the thread of a pcpu does.
from xenia.hypervisor.pool cimport Pcpu

# Until its pool ends.
cdef void pcpu_run(Pcpu *pcpu) noexcept nogil
