# Guest memory and domain numbers as hypercall arguments name them.
from libc.stdint cimport uint16_t, uint64_t
from xenia.abi.errno cimport XEN_EFAULT, XEN_EPERM, XEN_ESRCH
from xenia.abi.xen cimport DOMID_SELF
from xenia.domain.domain cimport Domain, Vcpu
from xenia.mm.access cimport copy_from_guest, copy_to_guest


# 0 or -XEN_EFAULT.
cdef inline int from_guest(Vcpu *vcpu, void *target, uint64_t va, uint64_t size) noexcept nogil:
    return copy_from_guest(&vcpu.domain.memory, vcpu.mmu.root_kernel, target, va, size)


cdef inline int to_guest(Vcpu *vcpu, uint64_t va, const void *source, uint64_t size) noexcept nogil:
    return copy_to_guest(&vcpu.domain.memory, vcpu.mmu.root_kernel, va, source, size)


# 0 where `domid` means the caller itself, -XEN_EPERM where it is domain 0 (which is Xenia), else -XEN_ESRCH.
cdef inline int own_domain(Domain *domain, uint16_t domid) noexcept nogil:
    if domid == DOMID_SELF or domid == domain.domid:
        return 0
    return -XEN_EPERM if domid == 0 else -XEN_ESRCH
