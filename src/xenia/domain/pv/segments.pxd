# Segment selectors as a 64-bit guest may load them: what depends on how they are loaded.
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from xenia.cpu.context cimport SegmentDescriptor
from xenia.domain.domain cimport Vcpu
from xenia.machine.paging cimport LOWER_HALF_END, UPPER_HALF_START


cdef inline bint is_canonical(uint64_t va) noexcept nogil:
    return va < LOWER_HALF_END or va >= UPPER_HALF_START


# Whether an iret to ring 3 could load the context's CS, SS and RIP: 0, or the vector that it raises, with *error.
cdef int iret_fault(Vcpu *vcpu, uint32_t *error) noexcept nogil
# Whether a data segment register may take the selector in ring 3; the descriptor as loaded (zeroes where null).
cdef bint data_segment(Vcpu *vcpu, uint16_t selector, SegmentDescriptor *descriptor) noexcept nogil
# The same, by who has the turn and memory.lock.
cdef bint data_segment_held(Vcpu *vcpu, uint16_t selector, SegmentDescriptor *descriptor) noexcept nogil
# 64, 32 or 16: what the context's CS makes of the code at rip.
cdef int code_mode(Vcpu *vcpu) noexcept nogil
