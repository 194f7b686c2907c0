"""What belongs to a control domain, a device model or another kind of guest, answered as Xen answers an ordinary PV
domain."""
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from xenia.abi.errno cimport (
    XEN_E2BIG, XEN_EACCES, XEN_EFAULT, XEN_EINVAL, XEN_ENODATA, XEN_ENOSYS, XEN_EOPNOTSUPP, XEN_EPERM, XEN_ESRCH,
)
from xenia.domain.domain cimport Vcpu
from xenia.hypercalls.guest cimport from_guest, own_domain

cdef enum:
    # Interface versions a toolstack of this Xen release would name; another one is -XEN_EACCES before any privilege is
    # asked.
    PLATFORM_INTERFACE_VERSION = 0x03000001
    SYSCTL_INTERFACE_VERSION = 0x00000015
    DOMCTL_INTERFACE_VERSION = 0x00000015
    PLATFORM_OP_SIZE = 136          # cmd, interface_version, 128 bytes
    SYSCTL_SIZE = 136
    DOMCTL_SIZE = 144               # cmd, interface_version, domain, 128 bytes
    XENOPROF_init = 0
    XENOPROF_LAST_OP = 17
    HVMOP_set_param = 0
    HVMOP_get_param = 1
    HVMOP_flush_tlbs = 5
    HVM_NR_PARAMS = 39


cdef int64_t do_platform_op(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    cdef unsigned char op[PLATFORM_OP_SIZE]
    if from_guest(vcpu, op, args[0], sizeof(op)):
        return -XEN_EFAULT
    return -XEN_EPERM if (<uint32_t *>op)[1] == PLATFORM_INTERFACE_VERSION else -XEN_EACCES


cdef int64_t do_sysctl(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    cdef unsigned char op[SYSCTL_SIZE]
    if from_guest(vcpu, op, args[0], sizeof(op)):
        return -XEN_EFAULT
    return -XEN_EPERM if (<uint32_t *>op)[1] == SYSCTL_INTERFACE_VERSION else -XEN_EACCES


cdef int64_t do_domctl(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    cdef unsigned char op[DOMCTL_SIZE]
    cdef uint16_t domid
    if from_guest(vcpu, op, args[0], sizeof(op)):
        return -XEN_EFAULT
    if (<uint32_t *>op)[1] != DOMCTL_INTERFACE_VERSION:
        return -XEN_EACCES
    domid = (<uint16_t *>op)[4]
    return -XEN_EPERM if domid == 0 or domid == vcpu.domain.domid else -XEN_ESRCH


cdef int64_t do_xsm_op(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    return -XEN_ENOSYS


cdef int64_t do_xenoprof_op(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    cdef unsigned char op[12]           # struct xenoprof_init
    if <uint32_t>args[0] == XENOPROF_init and from_guest(vcpu, op, args[1], sizeof(op)):
        return -XEN_EFAULT
    return -XEN_EPERM if <uint32_t>args[0] <= XENOPROF_LAST_OP else -XEN_EINVAL


cdef int64_t do_kexec_op(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    return -XEN_EPERM


cdef int64_t do_hypfs_op(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    return -XEN_EPERM


cdef int64_t do_xenpmu_op(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    return -XEN_EOPNOTSUPP


cdef int64_t do_hvm_op(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    cdef uint32_t cmd = <uint32_t>args[0]
    cdef unsigned char op[16]           # struct xen_hvm_param: domid, pad, index, value
    if cmd == HVMOP_flush_tlbs:
        return -XEN_EINVAL
    if cmd != HVMOP_set_param and cmd != HVMOP_get_param:
        return -XEN_ENOSYS
    if from_guest(vcpu, op, args[1], sizeof(op)):
        return -XEN_EFAULT
    if (<uint32_t *>op)[1] >= HVM_NR_PARAMS:
        return -XEN_EINVAL
    return -XEN_ESRCH if own_domain(vcpu.domain, (<uint16_t *>op)[0]) == -XEN_ESRCH else -XEN_EINVAL


cdef int64_t do_dm_op(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    cdef uint16_t domid = <uint16_t>args[0]
    cdef uint32_t nr_bufs = <uint32_t>args[1]
    cdef unsigned char bufs[48]         # struct xen_dm_op_buf each
    if nr_bufs > 3:
        return -XEN_E2BIG
    if from_guest(vcpu, bufs, args[2], 16 * nr_bufs):
        return -XEN_EFAULT
    if nr_bufs == 0:
        return -XEN_ENODATA
    return -XEN_EPERM if domid == 0 or domid == vcpu.domain.domid else -XEN_ESRCH


cdef int64_t do_paging_domctl_cont(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    cdef unsigned char op[DOMCTL_SIZE]
    return -XEN_EFAULT if from_guest(vcpu, op, args[0], sizeof(op)) else -XEN_EINVAL


cdef int64_t do_mca(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    return -XEN_EPERM
