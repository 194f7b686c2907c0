"""grant_table_op: the argument structures of public/grant_table.h around the rules of domain/grants.

Each command takes a list.  What is wrong with one element is said in its `status`, and the others are carried out all
the same; a list that cannot be read ends the call with -XEN_EFAULT.  A long list is continued where the vcpu is wanted
elsewhere.
"""
from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove
from xenia.abi.errno cimport XEN_EFAULT, XEN_EINVAL, XEN_ENOSYS, XEN_EOPNOTSUPP, XEN_EPERM
from xenia.abi.grant_table cimport (
    GNTCOPY_dest_gref,
    GNTCOPY_source_gref,
    GNTST_bad_copy_arg,
    GNTST_bad_domain,
    GNTST_bad_gntref,
    GNTST_bad_page,
    GNTST_eagain,
    GNTST_general_error,
    GNTST_okay,
    GNTST_permission_denied,
    GNTTAB_CACHE_CLEAN,
    GNTTAB_CACHE_INVAL,
    GNTTABOP_cache_flush,
    GNTTABOP_copy,
    GNTTABOP_get_status_frames,
    GNTTABOP_get_version,
    GNTTABOP_map_grant_ref,
    GNTTABOP_query_size,
    GNTTABOP_set_version,
    GNTTABOP_setup_table,
    GNTTABOP_swap_grant_ref,
    GNTTABOP_transfer,
    GNTTABOP_unmap_and_replace,
    GNTTABOP_unmap_grant_ref,
    gnttab_cache_flush_t,
    gnttab_copy_ptr_t,
    gnttab_copy_t,
    gnttab_get_status_frames_t,
    gnttab_get_version_t,
    gnttab_map_grant_ref_t,
    gnttab_query_size_t,
    gnttab_setup_table_t,
    gnttab_swap_grant_ref_t,
    gnttab_transfer_t,
    gnttab_unmap_and_replace_t,
    gnttab_unmap_grant_ref_t,
)
from xenia.abi.xen cimport DOMID_SELF
from xenia.domain.directory cimport domain_enter, domain_leave, domain_use
from xenia.domain.domain cimport Domain, GrantHold, Vcpu
from xenia.domain.grant_frames cimport MAX_GRANT_FRAMES, grant_frames_grow, grant_version_set
from xenia.domain.grant_maps cimport NO_HANDLE, grant_map, grant_maps_frame, grant_unmap
from xenia.domain.grant_transfer cimport grant_transfer
from xenia.domain.grants cimport GRANT_COPY, grant_entries, grant_entry, grant_held, grant_hold, grant_release
from xenia.hypercalls.guest cimport from_guest, own_domain, to_guest
from xenia.hypercalls.table cimport HYPERCALL_CONTINUE
from xenia.machine.lock cimport lock, unlock
from xenia.machine.machine cimport FRAME_WRITABLE
from xenia.machine.paging cimport PAGE_SIZE
from xenia.mm.memory cimport mm_writes, mm_wrote
from xenia.mm.references cimport get_page, get_page_type, put_page, put_page_type

cdef enum:
    DOM0 = 0                    # is there for every guest to see, with a table of one frame, and grants nothing
    DOM0_ENTRIES = 512


cdef int16_t domain_status(Domain *domain, uint16_t domid) noexcept nogil:
    cdef int result = own_domain(domain, domid)
    if result == -XEN_EPERM:
        return GNTST_permission_denied
    return GNTST_bad_domain if result else GNTST_okay


# The domain of that number, to be left afterwards; NULL where there is none.  DOMID_SELF is none here.
cdef Domain *find_domain(Vcpu *vcpu, uint16_t domid) noexcept nogil:
    if domid == vcpu.domain.domid:
        domain_use(vcpu.domain)
        return vcpu.domain
    return domain_enter(vcpu.domain.directory, domid)


# What the use of a grant of somebody answers who is no domain of ours.
cdef inline int16_t absent_status(uint16_t domid, uint32_t ref) noexcept nogil:
    if domid != DOM0:
        return GNTST_bad_domain
    return GNTST_general_error if ref < DOM0_ENTRIES else GNTST_bad_gntref


# --- the table


cdef int64_t setup_table(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef Domain *domain = vcpu.domain
    cdef gnttab_setup_table_t op
    cdef bint grown
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    op.status = domain_status(domain, op.dom)
    if op.status == GNTST_okay:
        lock(&domain.memory.lock)
        grown = grant_frames_grow(domain, op.nr_frames)
        unlock(&domain.memory.lock)
        if not grown:
            op.status = GNTST_general_error
        elif to_guest(vcpu, op.frame_list, domain.grants.frames, op.nr_frames * 8):
            return -XEN_EFAULT
    return to_guest(vcpu, va, &op, sizeof(op))


cdef int64_t get_status_frames(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef Domain *domain = vcpu.domain
    cdef gnttab_get_status_frames_t op
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    op.status = domain_status(domain, op.dom)
    if op.status == GNTST_okay:
        if domain.grants.version != 2 or op.nr_frames > domain.grants.nr_status_frames:
            op.status = GNTST_general_error
        elif to_guest(vcpu, op.frame_list, domain.grants.status_frames, op.nr_frames * 8):
            return -XEN_EFAULT
    return to_guest(vcpu, va, &op, sizeof(op))


cdef int64_t query_size(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef gnttab_query_size_t op
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    op.status = domain_status(vcpu.domain, op.dom)
    if op.status == GNTST_okay:
        op.nr_frames = max(vcpu.domain.grants.nr_frames, <uint32_t>1)     # the first is there from the start
        op.max_nr_frames = MAX_GRANT_FRAMES
    return to_guest(vcpu, va, &op, sizeof(op))


cdef int64_t get_version(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef gnttab_get_version_t op
    cdef int result
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    result = own_domain(vcpu.domain, op.dom)
    if result:
        return result
    op.version = vcpu.domain.grants.version
    return to_guest(vcpu, va, &op, sizeof(op))


cdef int64_t set_version(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef Domain *domain = vcpu.domain
    cdef uint32_t version
    cdef int result
    if from_guest(vcpu, &version, va, sizeof(version)):
        return -XEN_EFAULT
    if version != 1 and version != 2:
        return -XEN_EINVAL
    lock(&domain.memory.lock)
    result = grant_version_set(domain, version)
    version = domain.grants.version
    unlock(&domain.memory.lock)
    if to_guest(vcpu, va, &version, sizeof(version)):
        return -XEN_EFAULT
    return result


# --- elements of lists: each 0 or -XEN_EFAULT or another errno that ends the call


cdef int64_t map_one(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef gnttab_map_grant_ref_t op
    cdef Domain *granter
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    op.handle = NO_HANDLE
    op.dev_bus_addr = 0
    granter = find_domain(vcpu, op.dom) if op.flags & 3 else NULL
    if not op.flags & 3:
        op.status = GNTST_bad_gntref
    elif granter == NULL:
        op.status = absent_status(op.dom, op.ref)
    else:
        op.status = <int16_t>grant_map(vcpu, granter, op.ref, op.flags, op.host_addr, &op.handle, &op.dev_bus_addr)
        domain_leave(granter)
    return to_guest(vcpu, va, &op, sizeof(op))


cdef int64_t unmap_one(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef gnttab_unmap_grant_ref_t op
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    op.status = <int16_t>grant_unmap(vcpu, op.handle, op.host_addr, op.dev_bus_addr, 0)
    return to_guest(vcpu, va, &op, sizeof(op))


cdef int64_t unmap_and_replace_one(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef gnttab_unmap_and_replace_t op
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    op.status = <int16_t>grant_unmap(vcpu, op.handle, op.host_addr, 0, op.new_addr)
    return to_guest(vcpu, va, &op, sizeof(op))


cdef int64_t transfer_one(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef gnttab_transfer_t op
    cdef Domain *target
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    target = find_domain(vcpu, op.domid)
    op.status = <int16_t>grant_transfer(vcpu.domain, target, op.mfn, op.ref)
    if op.status == GNTST_bad_domain and op.domid == DOM0:
        op.status = GNTST_general_error
    if target != NULL:
        domain_leave(target)
    return to_guest(vcpu, va, &op, sizeof(op))


cdef int64_t swap_one(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef gnttab_swap_grant_ref_t op
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    lock(&vcpu.domain.memory.lock)
    op.status = swap(vcpu.domain, op.ref_a, op.ref_b)
    unlock(&vcpu.domain.memory.lock)
    return to_guest(vcpu, va, &op, sizeof(op))


cdef int16_t swap(Domain *domain, uint32_t a, uint32_t b) noexcept nogil:
    cdef uint8_t kept[16]
    cdef size_t size = 8 if domain.grants.version == 1 else 16
    if a >= grant_entries(domain) or b >= grant_entries(domain):
        return GNTST_bad_gntref
    if grant_held(domain, a) or grant_held(domain, b):
        return GNTST_eagain
    memcpy(kept, grant_entry(domain, a), size)
    memmove(grant_entry(domain, a), grant_entry(domain, b), size)
    memcpy(grant_entry(domain, b), kept, size)
    return GNTST_okay


# There is no cache between domains and devices that could hold anything back; what is refused is refused as if there
# were.
cdef int64_t cache_flush_one(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef gnttab_cache_flush_t op
    cdef bint own
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    if op.op & ~<uint32_t>(GNTTAB_CACHE_CLEAN | GNTTAB_CACHE_INVAL):
        return -XEN_EOPNOTSUPP if op.op >> 31 else -XEN_EINVAL
    if <uint32_t>op.offset + op.length > PAGE_SIZE:
        return -XEN_EINVAL
    if op.length == 0 or op.op == 0:
        return 0
    lock(&vcpu.domain.memory.lock)
    own = get_page(&vcpu.domain.memory, op.a >> 12)
    if own:
        put_page(&vcpu.domain.memory, op.a >> 12)
    unlock(&vcpu.domain.memory.lock)
    return 0 if own or grant_maps_frame(vcpu.domain, op.a >> 12) else -XEN_EPERM


# --- copy

cdef struct Side:               # one end of a copy
    uint8_t *memory
    uint64_t own_mfn            # a frame of the caller's by its number
    GrantHold hold
    bint granted


cdef int64_t copy_one(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef gnttab_copy_t op
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    op.status = copy(vcpu, &op)
    return to_guest(vcpu, va, &op, sizeof(op))


cdef int16_t copy(Vcpu *vcpu, gnttab_copy_t *op) noexcept nogil:
    cdef Side source, dest
    cdef int16_t status
    if <uint32_t>op.source.offset + op.len > PAGE_SIZE or <uint32_t>op.dest.offset + op.len > PAGE_SIZE:
        return GNTST_bad_copy_arg
    status = open_side(vcpu, &op.source, op.flags & GNTCOPY_source_gref, op.len, False, &source)
    if status != GNTST_okay:
        return status
    status = open_side(vcpu, &op.dest, op.flags & GNTCOPY_dest_gref, op.len, True, &dest)
    if status == GNTST_okay:
        memmove(dest.memory + op.dest.offset, source.memory + op.source.offset, op.len)
        close_side(vcpu, &dest, True)
    close_side(vcpu, &source, False)
    return status


cdef int16_t open_side(Vcpu *vcpu, gnttab_copy_ptr_t *end, bint granted, uint16_t length, bint writable,
                       Side *side) noexcept nogil:
    cdef Domain *domain = vcpu.domain
    cdef Domain *granter
    cdef int status
    side.granted = granted
    if not granted and end.domid == DOMID_SELF:
        return open_own(domain, end.u.gmfn, writable, side)
    granter = find_domain(vcpu, domain.domid if end.domid == DOMID_SELF else end.domid)
    if granter == NULL and (granted or end.domid != DOM0):
        return absent_status(end.domid, end.u.ref)
    if not granted:
        if granter != NULL:
            domain_leave(granter)
        return GNTST_permission_denied
    status = grant_hold(granter, domain.domid, end.u.ref, writable, GRANT_COPY, &side.hold)
    domain_leave(granter)
    if status != GNTST_okay:
        return <int16_t>status
    if end.offset < side.hold.start or <uint32_t>end.offset + length > <uint32_t>side.hold.start + side.hold.length:
        grant_release(&side.hold)
        return GNTST_general_error
    side.memory = domain.machine.base + (side.hold.mfn << 12)
    return GNTST_okay


cdef int16_t open_own(Domain *domain, uint64_t mfn, bint writable, Side *side) noexcept nogil:
    cdef int16_t status = GNTST_okay
    lock(&domain.memory.lock)
    if not get_page(&domain.memory, mfn):
        status = GNTST_bad_page
    elif writable and get_page_type(&domain.memory, mfn, FRAME_WRITABLE):
        put_page(&domain.memory, mfn)
        status = GNTST_general_error
    elif writable:
        mm_writes(&domain.memory, mfn)
    unlock(&domain.memory.lock)
    side.own_mfn = mfn
    side.memory = domain.machine.base + (mfn << 12)
    return status


cdef void close_side(Vcpu *vcpu, Side *side, bint written) noexcept nogil:
    cdef Domain *domain = vcpu.domain
    if side.granted:
        grant_release(&side.hold)
        return
    lock(&domain.memory.lock)
    if written:
        mm_wrote(&domain.memory, side.own_mfn << 12, PAGE_SIZE)
        put_page_type(&domain.memory, side.own_mfn)
    put_page(&domain.memory, side.own_mfn)
    unlock(&domain.memory.lock)


# --- the call

ctypedef int64_t (*element_fn)(Vcpu *vcpu, uint64_t va) noexcept nogil


cdef int64_t each(Vcpu *vcpu, uint64_t *args, element_fn carry_out, uint64_t size) noexcept nogil:
    cdef int64_t result
    cdef bint first = True
    while <uint32_t>args[2]:
        if not first and vcpu.preempt:
            return HYPERCALL_CONTINUE
        first = False
        result = carry_out(vcpu, args[1])
        if result:
            return result
        args[1] += size
        args[2] = <uint32_t>args[2] - 1
    return 0


cdef int64_t do_grant_table_op(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    cdef uint32_t cmd = <uint32_t>args[0]
    cdef uint64_t va = args[1]
    cdef uint32_t count = <uint32_t>args[2]
    if <int>count < 0:
        return -XEN_EINVAL
    if cmd == GNTTABOP_map_grant_ref:
        return each(vcpu, args, map_one, sizeof(gnttab_map_grant_ref_t))
    if cmd == GNTTABOP_unmap_grant_ref:
        return each(vcpu, args, unmap_one, sizeof(gnttab_unmap_grant_ref_t))
    if cmd == GNTTABOP_copy:
        return each(vcpu, args, copy_one, sizeof(gnttab_copy_t))
    if cmd == GNTTABOP_unmap_and_replace:
        return each(vcpu, args, unmap_and_replace_one, sizeof(gnttab_unmap_and_replace_t))
    if cmd == GNTTABOP_transfer:
        return each(vcpu, args, transfer_one, sizeof(gnttab_transfer_t))
    if cmd == GNTTABOP_swap_grant_ref:
        return each(vcpu, args, swap_one, sizeof(gnttab_swap_grant_ref_t))
    if cmd == GNTTABOP_cache_flush:
        return each(vcpu, args, cache_flush_one, sizeof(gnttab_cache_flush_t))
    if cmd not in (GNTTABOP_setup_table, GNTTABOP_query_size, GNTTABOP_get_version, GNTTABOP_set_version,
                   GNTTABOP_get_status_frames):
        return -XEN_ENOSYS
    if count != 1:
        return -XEN_EINVAL
    if cmd == GNTTABOP_setup_table:
        return setup_table(vcpu, va)
    if cmd == GNTTABOP_query_size:
        return query_size(vcpu, va)
    if cmd == GNTTABOP_get_version:
        return get_version(vcpu, va)
    if cmd == GNTTABOP_set_version:
        return set_version(vcpu, va)
    return get_status_frames(vcpu, va)
