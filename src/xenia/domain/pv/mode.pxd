# Kernel and user mode of a guest, both outside the processor's ring 0.
from xenia.abi.xen cimport VMASST_TYPE_architectural_iopl
from xenia.domain.domain cimport Vcpu

cdef void switch_mode(Vcpu *vcpu, bint kernel) noexcept nogil   # mode, GS bases, CR3 where the roots differ


# Which ring the vcpu is in, compared with an IOPL or a gate's DPL: a kernel is in 1, or in 0 if it asked for that.
cdef inline int virtual_ring(Vcpu *vcpu) noexcept nogil:
    if not vcpu.context.kernel:
        return 3
    return 0 if vcpu.domain.vm_assist & (1 << VMASST_TYPE_architectural_iopl) else 1
