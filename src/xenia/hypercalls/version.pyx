"""xen_version (public/version.h) and vm_assist (public/xen.h): what the hypervisor is, and what it shall do for this
guest."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset, strlen
from xenia.abi.errno cimport XEN_EFAULT, XEN_EINVAL, XEN_ENOSYS, XEN_EPERM
from xenia.abi.features cimport (
    XENFEAT_gnttab_map_avail_bits,
    XENFEAT_highmem_assist,
    XENFEAT_memory_op_vnode_supported,
    XENFEAT_mmu_pt_update_preserve_ad,
    XENFEAT_direct_mapped,
)
from xenia.abi.version cimport (
    XENVER_build_id,
    XENVER_capabilities,
    XENVER_changeset,
    XENVER_commandline,
    XENVER_compile_info,
    XENVER_extraversion,
    XENVER_get_features,
    XENVER_guest_handle,
    XENVER_pagesize,
    XENVER_platform_parameters,
    XENVER_version,
    xen_compile_info_t,
    xen_feature_info_t,
)
from xenia.abi.xen cimport (
    HYPERVISOR_VIRT_START,
    VMASST_CMD_disable,
    VMASST_CMD_enable,
    VMASST_TYPE_4gb_segments,
    VMASST_TYPE_4gb_segments_notify,
    VMASST_TYPE_architectural_iopl,
    VMASST_TYPE_m2p_strict,
    VMASST_TYPE_pae_extended_cr3,
    VMASST_TYPE_runstate_update_flag,
    VMASST_TYPE_writable_pagetables,
)
from xenia.domain.domain cimport Vcpu
from xenia.hypercalls.guest cimport from_guest, to_guest

cdef enum:
    MAJOR = 4
    MINOR = 17
    FEATURES = (
        1 << XENFEAT_mmu_pt_update_preserve_ad
        | 1 << XENFEAT_highmem_assist
        | 1 << XENFEAT_gnttab_map_avail_bits
        | 1 << XENFEAT_memory_op_vnode_supported
        | 1 << XENFEAT_direct_mapped
    )


# A text in a field of `size` bytes (up to 64), zero filled.
cdef int64_t text(Vcpu *vcpu, uint64_t va, const char *value, uint64_t size) noexcept nogil:
    cdef char field[64]
    memset(field, 0, sizeof(field))
    memcpy(field, value, strlen(value))
    return to_guest(vcpu, va, field, size)


cdef int64_t compile_info(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef xen_compile_info_t info
    memset(&info, 0, sizeof(info))
    memcpy(info.compiler, b"Cython", 6)
    memcpy(info.compile_by, b"xenia", 5)
    memcpy(info.compile_domain, b"xenia", 5)
    memcpy(info.compile_date, b"unknown", 7)
    return to_guest(vcpu, va, &info, sizeof(info))


cdef int64_t get_features(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef xen_feature_info_t info
    if from_guest(vcpu, &info, va, sizeof(info)):
        return -XEN_EFAULT
    if info.submap_idx:
        return -XEN_EINVAL
    info.submap = FEATURES
    return to_guest(vcpu, va, &info, sizeof(info))


cdef int64_t do_xen_version(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    cdef uint32_t cmd = <uint32_t>args[0]
    cdef uint64_t va = args[1]
    cdef uint64_t start = HYPERVISOR_VIRT_START
    if cmd == XENVER_version:
        return MAJOR << 16 | MINOR
    if cmd == XENVER_extraversion:
        return text(vcpu, va, b"-xenia", 16)
    if cmd == XENVER_compile_info:
        return compile_info(vcpu, va)
    if cmd == XENVER_capabilities:          # up to its NUL, as Xen copies it
        return text(vcpu, va, b"xen-3.0-x86_64 ", 16)
    if cmd == XENVER_changeset:
        return text(vcpu, va, b"unavailable", 64)
    if cmd == XENVER_platform_parameters:
        return to_guest(vcpu, va, &start, sizeof(start))
    if cmd == XENVER_get_features:
        return get_features(vcpu, va)
    if cmd == XENVER_pagesize:
        return -XEN_EINVAL if va else 4096
    if cmd == XENVER_guest_handle:
        return to_guest(vcpu, va, vcpu.domain.handle, sizeof(vcpu.domain.handle))
    if cmd == XENVER_commandline:           # what an unprivileged domain may read of it
        return text(vcpu, va, b"<denied>", 9)
    return -XEN_EPERM if cmd == XENVER_build_id else -XEN_ENOSYS


cdef uint64_t assist(uint64_t kind) noexcept nogil:
    return <uint64_t>1 << kind


cdef int64_t do_vm_assist(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    cdef uint32_t cmd = <uint32_t>args[0]
    cdef uint32_t kind = <uint32_t>args[1]
    cdef uint64_t known = (
        assist(VMASST_TYPE_4gb_segments) | assist(VMASST_TYPE_4gb_segments_notify)
        | assist(VMASST_TYPE_writable_pagetables)
        | assist(VMASST_TYPE_pae_extended_cr3) | assist(VMASST_TYPE_architectural_iopl)
        | assist(VMASST_TYPE_runstate_update_flag) | assist(VMASST_TYPE_m2p_strict)
    )
    if kind >= 64 or not known & assist(kind):
        return -XEN_EINVAL
    if cmd == VMASST_CMD_enable:
        vcpu.domain.vm_assist |= assist(kind)
    elif cmd == VMASST_CMD_disable:
        vcpu.domain.vm_assist &= ~assist(kind)
    else:
        return -XEN_ENOSYS
    vcpu.domain.mmu.writable_pagetables = (vcpu.domain.vm_assist & assist(VMASST_TYPE_writable_pagetables)) != 0
    return 0
