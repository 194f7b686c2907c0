"""grant_table_op (public/grant_table.h): the table itself, version 1, in frames of Xen's that the domain may write.

A command that is not carried out fails whole (-XEN_ENOSYS), so that a guest never takes a grant for mapped or copied that is not.
"""
from libc.stdint cimport int16_t, int64_t, uint16_t, uint32_t, uint64_t
from xenia.abi.errno cimport XEN_EFAULT, XEN_EINVAL, XEN_ENOSYS, XEN_EPERM
from xenia.abi.grant_table cimport (
    GNTST_bad_domain,
    GNTST_general_error,
    GNTST_okay,
    GNTST_permission_denied,
    GNTTABOP_get_version,
    GNTTABOP_query_size,
    GNTTABOP_set_version,
    GNTTABOP_setup_table,
    gnttab_get_version_t,
    gnttab_query_size_t,
    gnttab_setup_table_t,
)
from xenia.domain.domain cimport Domain, Vcpu
from xenia.domain.grant_frames cimport MAX_GRANT_FRAMES, grant_frames_grow
from xenia.hypercalls.guest cimport from_guest, own_domain, to_guest

cdef int16_t domain_status(Domain *domain, uint16_t domid) noexcept nogil:
    cdef int result = own_domain(domain, domid)
    if result == -XEN_EPERM:
        return GNTST_permission_denied
    return GNTST_bad_domain if result else GNTST_okay

cdef int64_t setup_table(Vcpu *vcpu, uint64_t va, uint32_t count) noexcept nogil:
    cdef Domain *domain = vcpu.domain
    cdef gnttab_setup_table_t op
    if count != 1:
        return -XEN_EINVAL
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    op.status = domain_status(domain, op.dom)
    if op.status == GNTST_okay:
        if not grant_frames_grow(domain, op.nr_frames):
            op.status = GNTST_general_error
        elif to_guest(vcpu, op.frame_list, domain.grant_frames, op.nr_frames * 8):
            return -XEN_EFAULT
    return to_guest(vcpu, va, &op, sizeof(op))

cdef int64_t query_size(Vcpu *vcpu, uint64_t va, uint32_t count) noexcept nogil:
    cdef gnttab_query_size_t op
    if count != 1:
        return -XEN_EINVAL
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    op.status = domain_status(vcpu.domain, op.dom)
    if op.status == GNTST_okay:
        op.nr_frames = max(vcpu.domain.nr_grant_frames, <uint32_t>1)     # the first is there from the start
        op.max_nr_frames = MAX_GRANT_FRAMES
    return to_guest(vcpu, va, &op, sizeof(op))

cdef int64_t get_version(Vcpu *vcpu, uint64_t va, uint32_t count) noexcept nogil:
    cdef gnttab_get_version_t op
    cdef int result
    if count != 1:
        return -XEN_EINVAL
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    result = own_domain(vcpu.domain, op.dom)
    if result:
        return result
    op.version = vcpu.domain.grant_version
    return to_guest(vcpu, va, &op, sizeof(op))

cdef int64_t set_version(Vcpu *vcpu, uint64_t va, uint32_t count) noexcept nogil:
    cdef uint32_t version
    if count != 1:
        return -XEN_EINVAL
    if from_guest(vcpu, &version, va, sizeof(version)):
        return -XEN_EFAULT
    if version == 2:
        return -XEN_ENOSYS
    return 0 if version == 1 else -XEN_EINVAL

cdef int64_t do_grant_table_op(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    cdef uint32_t cmd = <uint32_t>args[0]
    cdef uint64_t va = args[1]
    cdef uint32_t count = <uint32_t>args[2]
    if <int>count < 0:
        return -XEN_EINVAL
    if cmd == GNTTABOP_setup_table:
        return setup_table(vcpu, va, count)
    if cmd == GNTTABOP_query_size:
        return query_size(vcpu, va, count)
    if cmd == GNTTABOP_get_version:
        return get_version(vcpu, va, count)
    if cmd == GNTTABOP_set_version:
        return set_version(vcpu, va, count)
    return -XEN_ENOSYS
