# Writes of a guest kernel to its own page tables, which it may only read.
from libc.stdint cimport uint64_t
from xenia.domain.domain cimport Vcpu
from xenia.domain.pv.instruction cimport Fault

# The instruction at rip faulted on a write to `va`, which is mapped read-only.  EMULATE_*.
# Without the turn.
cdef int emulate_table_write(Vcpu *vcpu, uint64_t va, Fault *fault) noexcept nogil
