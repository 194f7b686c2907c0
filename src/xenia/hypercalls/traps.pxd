# Hypercalls about traps, callbacks, stacks, segment bases and debug registers.
from libc.stdint cimport int64_t, uint64_t
from xenia.domain.domain cimport Vcpu

cdef int64_t do_set_trap_table(Vcpu *vcpu, uint64_t *args) noexcept nogil
cdef int64_t do_set_callbacks(Vcpu *vcpu, uint64_t *args) noexcept nogil
cdef int64_t do_callback_op(Vcpu *vcpu, uint64_t *args) noexcept nogil
cdef int64_t do_nmi_op(Vcpu *vcpu, uint64_t *args) noexcept nogil
cdef int64_t do_iret(Vcpu *vcpu, uint64_t *args) noexcept nogil
cdef int64_t do_stack_switch(Vcpu *vcpu, uint64_t *args) noexcept nogil
cdef int64_t do_fpu_taskswitch(Vcpu *vcpu, uint64_t *args) noexcept nogil
cdef int64_t do_set_debugreg(Vcpu *vcpu, uint64_t *args) noexcept nogil
cdef int64_t do_get_debugreg(Vcpu *vcpu, uint64_t *args) noexcept nogil
cdef int64_t do_set_segment_base(Vcpu *vcpu, uint64_t *args) noexcept nogil
