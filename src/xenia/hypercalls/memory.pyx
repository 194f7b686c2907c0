"""memory_op (public/memory.h) for a PV domain, which keeps its own physical-to-machine table.

Long operations continue as in Xen: the number of extents done is kept in the bits of `cmd` above the command itself.
"""
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from xenia.abi.errno cimport (
    XEN_EACCES,
    XEN_EFAULT,
    XEN_EINVAL,
    XEN_ENOENT,
    XEN_ENOMEM,
    XEN_ENOSYS,
    XEN_EOPNOTSUPP,
    XEN_EPERM,
    XEN_ESRCH,
)
from xenia.abi.memory cimport (
    XENMEM_acquire_resource,
    XENMEM_add_to_physmap,
    XENMEM_add_to_physmap_batch,
    XENMEM_claim_pages,
    XENMEM_current_reservation,
    XENMEM_decrease_reservation,
    XENMEM_exchange,
    XENMEM_get_pod_target,
    XENMEM_get_vnumainfo,
    XENMEM_increase_reservation,
    XENMEM_machine_memory_map,
    XENMEM_machphys_mapping,
    XENMEM_machphys_mfn_list,
    XENMEM_maximum_gpfn,
    XENMEM_maximum_ram_page,
    XENMEM_maximum_reservation,
    XENMEM_memory_map,
    XENMEM_populate_physmap,
    XENMEM_remove_from_physmap,
    XENMEM_set_memory_map,
    XENMEM_set_pod_target,
    XENMEMF_address_bits_mask,
    XENMEMF_populate_on_demand,
    e820_entry_t,
    xen_add_to_physmap_batch_t,
    xen_add_to_physmap_t,
    xen_foreign_memory_map_t,
    xen_machphys_mapping_t,
    xen_machphys_mfn_list_t,
    xen_memory_exchange_t,
    xen_memory_map_t,
    xen_memory_reservation_t,
    xen_pod_target_t,
    xen_remove_from_physmap_t,
)
from xenia.abi.xen cimport HYPERVISOR_VIRT_START, INVALID_M2P_ENTRY
from xenia.domain.domain cimport Domain, Vcpu
from xenia.hypercalls.guest cimport from_guest, own_domain, to_guest
from xenia.hypercalls.table cimport HYPERCALL_CONTINUE
from xenia.machine.machine cimport FRAME_ALLOCATED, FRAME_PINNED, FRAME_SHARED, Frame, Machine, machine_alloc
from xenia.mm.pvmmu cimport PvMmu, get_page, put_page, put_page_and_type

cdef enum:
    CMD_MASK = 0x3f
    EXTENT_SHIFT = 6
    MAX_ORDER = 9               # largest extent an ordinary domain may ask for
    M2P_CHUNK_FRAMES = 512      # XENMEM_machphys_mfn_list lists the M2P table by 2 MiB
    E820_MAX = 128
    M2P_SIZE = 0x4000000000     # MACH2PHYS_VIRT_END - MACH2PHYS_VIRT_START

# --- frames that a domain gains and loses

# A zeroed frame for the domain below `limit`, known to the M2P table as `pfn`; INVALID_M2P_ENTRY if there is none for it.
cdef uint64_t gain_frame(PvMmu *mmu, uint64_t pfn, uint64_t limit) noexcept nogil:
    cdef uint64_t mfn
    if mmu.tot_pages >= mmu.max_pages:
        return INVALID_M2P_ENTRY
    mfn = machine_alloc(mmu.machine, mmu.domid)
    if mfn == INVALID_M2P_ENTRY:
        return mfn
    mmu.tot_pages += 1
    mmu.machine.m2p[mfn] = pfn
    if mfn >= limit:
        lose_frame(mmu, mfn)
        return INVALID_M2P_ENTRY
    return mfn

# The domain gives a frame up: its pin and the allocation's own reference go; the frame goes when the last mapping does.
cdef bint lose_frame(PvMmu *mmu, uint64_t mfn) noexcept nogil:
    cdef Frame *frame
    if not get_page(mmu, mfn):
        return False
    frame = &mmu.machine.frames[mfn]
    if frame.type == FRAME_SHARED:      # Xenia's own: shared_info, the grant table
        put_page(mmu, mfn)
        return False
    if frame.flags & FRAME_PINNED:
        frame.flags &= ~FRAME_PINNED
        put_page_and_type(mmu, mfn)
    if frame.flags & FRAME_ALLOCATED:
        frame.flags &= ~FRAME_ALLOCATED
        put_page(mmu, mfn)
    put_page(mmu, mfn)
    return True

# First frame number above what XENMEMF_address_bits(bits) can reach; 0: no frame qualifies.
cdef uint64_t frame_limit(uint32_t mem_flags) noexcept nogil:
    cdef uint32_t bits = mem_flags & XENMEMF_address_bits_mask
    if bits == 0 or bits >= 64:
        return <uint64_t>-1
    return <uint64_t>1 << (bits - 12) if bits > 12 else 0

# --- increase_reservation, decrease_reservation, populate_physmap: each answers the number of extents done

cdef int64_t adjust_reservation(Vcpu *vcpu, uint64_t *args, uint32_t op, uint64_t start) noexcept nogil:
    cdef PvMmu *mmu = &vcpu.domain.mmu
    cdef xen_memory_reservation_t reservation
    cdef uint64_t i = start, limit, entry, mfn
    cdef bint done
    if from_guest(vcpu, &reservation, args[1], sizeof(reservation)):
        return <int64_t>start
    if reservation.nr_extents > <uint32_t>-1 >> EXTENT_SHIFT or start >= reservation.nr_extents:
        return <int64_t>start
    if own_domain(vcpu.domain, reservation.domid) or reservation.mem_flags & XENMEMF_populate_on_demand:
        return <int64_t>start
    if reservation.extent_order > MAX_ORDER or (reservation.extent_order and op != XENMEM_decrease_reservation):
        return <int64_t>start       # machine memory may be scattered: no extents above a frame
    limit = frame_limit(reservation.mem_flags)
    while i < reservation.nr_extents:
        if i != start and vcpu.domain.preempt:
            args[0] = i << EXTENT_SHIFT | op
            return HYPERCALL_CONTINUE
        entry = INVALID_M2P_ENTRY
        if op != XENMEM_increase_reservation and from_guest(vcpu, &entry, reservation.extent_start + 8 * i, 8):
            break
        if op == XENMEM_decrease_reservation:
            if not lose_extent(mmu, entry, reservation.extent_order):
                break
        else:
            mfn = gain_frame(mmu, entry, limit)
            if mfn == INVALID_M2P_ENTRY:
                break
            if (op == XENMEM_populate_physmap or reservation.extent_start) and to_guest(
                vcpu, reservation.extent_start + 8 * i, &mfn, sizeof(mfn)
            ):
                lose_frame(mmu, mfn)
                break
        i += 1
    return <int64_t>i

cdef bint lose_extent(PvMmu *mmu, uint64_t mfn, uint32_t order) noexcept nogil:
    cdef uint64_t i
    for i in range(<uint64_t>1 << order):
        if not lose_frame(mmu, mfn + i):
            return False
    return True

# --- exchange

cdef int64_t exchange(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    cdef PvMmu *mmu = &vcpu.domain.mmu
    cdef xen_memory_exchange_t op
    cdef uint64_t nr_exchanged_va = args[1] + 2 * sizeof(xen_memory_reservation_t)
    cdef uint64_t i, old, pfn, mfn, limit
    cdef int64_t result = 0
    if from_guest(vcpu, &op, args[1], sizeof(op)):
        return -XEN_EFAULT
    if op.in_.extent_order > MAX_ORDER or op.out.extent_order > MAX_ORDER:
        return -XEN_EPERM
    if op.nr_exchanged > op.in_.nr_extents or op.in_.nr_extents > <uint64_t>-1 >> op.in_.extent_order:
        return -XEN_EINVAL
    if op.in_.nr_extents << op.in_.extent_order != op.out.nr_extents << op.out.extent_order:
        return -XEN_EINVAL
    if op.in_.domid != op.out.domid:
        return -XEN_EINVAL
    result = own_domain(vcpu.domain, op.in_.domid)
    if result:
        return result
    if op.in_.extent_order or op.out.extent_order:
        return -XEN_ENOMEM          # machine memory may be scattered: no extents above a frame
    limit = frame_limit(op.out.mem_flags)
    i = op.nr_exchanged
    while i < op.in_.nr_extents:
        if i != op.nr_exchanged and vcpu.domain.preempt:
            result = HYPERCALL_CONTINUE
            break
        if from_guest(vcpu, &old, op.in_.extent_start + 8 * i, 8) or from_guest(vcpu, &pfn, op.out.extent_start + 8 * i, 8):
            result = -XEN_EFAULT
            break
        # Only a frame that nothing but the allocation holds can be taken away whole.
        if not exclusive(mmu, old):
            result = -XEN_EINVAL
            break
        mmu.max_pages += 1
        mfn = gain_frame(mmu, pfn, limit)
        mmu.max_pages -= 1
        if mfn == INVALID_M2P_ENTRY:
            result = -XEN_ENOMEM
            break
        if to_guest(vcpu, op.out.extent_start + 8 * i, &mfn, sizeof(mfn)):
            lose_frame(mmu, mfn)
            result = -XEN_EFAULT
            break
        lose_frame(mmu, old)
        i += 1
    if to_guest(vcpu, nr_exchanged_va, &i, sizeof(i)):
        return -XEN_EFAULT
    return result

cdef bint exclusive(PvMmu *mmu, uint64_t mfn) noexcept nogil:
    cdef bint alone
    if not get_page(mmu, mfn):
        return False
    alone = (
        mmu.machine.frames[mfn].refs == 2
        and mmu.machine.frames[mfn].flags & FRAME_ALLOCATED != 0
        and mmu.machine.frames[mfn].type != FRAME_SHARED
    )
    put_page(mmu, mfn)
    return alone

# --- questions

cdef int64_t reservation_size(Vcpu *vcpu, uint32_t op, uint64_t va) noexcept nogil:
    cdef uint16_t domid
    cdef int result
    if from_guest(vcpu, &domid, va, sizeof(domid)):
        return -XEN_EFAULT
    result = own_domain(vcpu.domain, domid)
    if result:
        return result
    if op == XENMEM_current_reservation:
        return <int64_t>vcpu.domain.mmu.tot_pages
    if op == XENMEM_maximum_reservation:
        return <int64_t>vcpu.domain.mmu.max_pages
    # maximum_gpfn: a PV guest says how many pfns it has in shared_info.
    return <int64_t>vcpu.domain.shared_info.arch.max_pfn - 1 if vcpu.domain.shared_info.arch.max_pfn else 0

cdef int64_t machphys_mfn_list(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef Machine *machine = vcpu.domain.machine
    cdef xen_machphys_mfn_list_t op
    cdef uint64_t first = (<uint64_t>machine.m2p - <uint64_t>machine.base) >> 12
    cdef uint64_t nr_chunks = (machine.nr_frames * 8 + (M2P_CHUNK_FRAMES << 12) - 1) // (M2P_CHUNK_FRAMES << 12)
    cdef uint64_t mfn
    cdef uint32_t i
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    op.nr_extents = min(op.max_extents, <uint32_t>nr_chunks)
    for i in range(op.nr_extents):
        mfn = first + i * <uint64_t>M2P_CHUNK_FRAMES
        if to_guest(vcpu, op.extent_start + 8 * i, &mfn, sizeof(mfn)):
            return -XEN_EFAULT
    return to_guest(vcpu, va, &op, sizeof(op))

cdef int64_t machphys_mapping(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef xen_machphys_mapping_t op
    op.v_start = HYPERVISOR_VIRT_START
    op.v_end = HYPERVISOR_VIRT_START + M2P_SIZE
    op.max_mfn = M2P_SIZE // 8 - 1
    return to_guest(vcpu, va, &op, sizeof(op))

cdef int64_t memory_map(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef Domain *domain = vcpu.domain
    cdef xen_memory_map_t op
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    if not domain.nr_e820:
        return -XEN_ENOSYS
    op.nr_entries = min(op.nr_entries, domain.nr_e820)
    if to_guest(vcpu, op.buffer, domain.e820, op.nr_entries * sizeof(e820_entry_t)):
        return -XEN_EFAULT
    return to_guest(vcpu, va, &op, sizeof(op))

cdef int64_t set_memory_map(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef Domain *domain = vcpu.domain
    cdef xen_foreign_memory_map_t op
    cdef e820_entry_t entries[E820_MAX]
    cdef uint32_t i
    cdef int result
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    if op.map.nr_entries > E820_MAX:
        return -XEN_EINVAL
    result = own_domain(domain, op.domid)
    if result:
        return result
    if from_guest(vcpu, entries, op.map.buffer, op.map.nr_entries * sizeof(e820_entry_t)):
        return -XEN_EFAULT
    for i in range(op.map.nr_entries):
        domain.e820[i] = entries[i]
    domain.nr_e820 = op.map.nr_entries
    return 0

# --- refusals that look at their argument first

# `domid` of the argument at `offset`; `error` is the answer to the domain itself.
cdef int64_t refuse(Vcpu *vcpu, uint64_t va, uint64_t size, uint64_t offset, int64_t error) noexcept nogil:
    cdef unsigned char argument[64]
    cdef int result
    if from_guest(vcpu, argument, va, size):
        return -XEN_EFAULT
    result = own_domain(vcpu.domain, (<uint16_t *>(argument + offset))[0])
    return result if result else error

cdef int64_t claim_pages(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef xen_memory_reservation_t op
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    if op.extent_start or op.extent_order or op.mem_flags:
        return -XEN_EINVAL
    return -XEN_EPERM if op.domid == 0 or op.domid == vcpu.domain.domid else -XEN_ESRCH

cdef int64_t remove_from_physmap(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef xen_remove_from_physmap_t op
    cdef int result
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    result = own_domain(vcpu.domain, op.domid)
    if result:
        return result
    if not get_page(&vcpu.domain.mmu, op.gpfn):
        return -XEN_ENOENT
    put_page(&vcpu.domain.mmu, op.gpfn)     # there is no physmap to take it from
    return 0

cdef int64_t do_memory_op(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    cdef uint32_t op = args[0] & CMD_MASK
    cdef uint64_t start = args[0] >> EXTENT_SHIFT
    cdef uint64_t va = args[1]
    if op in (XENMEM_increase_reservation, XENMEM_decrease_reservation, XENMEM_populate_physmap):
        return adjust_reservation(vcpu, args, op, start)
    if op != XENMEM_add_to_physmap and op != XENMEM_add_to_physmap_batch and start:
        return -XEN_EINVAL
    if op == XENMEM_exchange:
        return exchange(vcpu, args)
    if op == XENMEM_maximum_ram_page:
        return <int64_t>vcpu.domain.machine.nr_frames
    if op in (XENMEM_current_reservation, XENMEM_maximum_reservation, XENMEM_maximum_gpfn):
        return reservation_size(vcpu, op, va)
    if op == XENMEM_machphys_mfn_list:
        return machphys_mfn_list(vcpu, va)
    if op == XENMEM_machphys_mapping:
        return machphys_mapping(vcpu, va)
    if op == XENMEM_memory_map:
        return memory_map(vcpu, va)
    if op == XENMEM_set_memory_map:
        return set_memory_map(vcpu, va)
    if op == XENMEM_machine_memory_map:
        return -XEN_EPERM
    if op == XENMEM_add_to_physmap:
        return refuse(vcpu, va, sizeof(xen_add_to_physmap_t), 0, -XEN_EACCES)
    if op == XENMEM_add_to_physmap_batch:
        return refuse(vcpu, va, sizeof(xen_add_to_physmap_batch_t), 0, -XEN_EACCES)
    if op == XENMEM_remove_from_physmap:
        return remove_from_physmap(vcpu, va)
    if op == XENMEM_set_pod_target or op == XENMEM_get_pod_target:
        return refuse(vcpu, va, sizeof(xen_pod_target_t), 32, -XEN_EPERM)
    if op == XENMEM_claim_pages:
        return claim_pages(vcpu, va)
    if op == XENMEM_get_vnumainfo:
        return refuse(vcpu, va, 56, 0, -XEN_EOPNOTSUPP)
    if op == XENMEM_acquire_resource:
        return -XEN_EPERM
    return -XEN_ENOSYS
