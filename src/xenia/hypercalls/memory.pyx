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
from xenia.machine.lock cimport give_way
from xenia.machine.machine cimport Machine
from xenia.mm.memory cimport DomainMemory
from xenia.mm.references cimport get_page, put_page
from xenia.mm.reservation cimport gain_extent, lose_extent, release_frame, return_frame, take_frame

cdef enum:
    CMD_MASK = 0x3f
    EXTENT_SHIFT = 6
    MAX_ORDER = 9               # largest extent an ordinary domain may ask for
    M2P_CHUNK_FRAMES = 512      # XENMEM_machphys_mfn_list lists the M2P table by 2 MiB
    E820_MAX = 128
    PFN_BITS = 52
    M2P_SIZE = 0x4000000000     # MACH2PHYS_VIRT_END - MACH2PHYS_VIRT_START


# First frame number above what XENMEMF_address_bits(bits) can reach; 0: no frame qualifies.
cdef uint64_t frame_limit(uint32_t mem_flags) noexcept nogil:
    cdef uint32_t bits = mem_flags & XENMEMF_address_bits_mask
    if bits == 0 or bits >= 64:
        return <uint64_t>-1
    return <uint64_t>1 << (bits - 12) if bits > 12 else 0


# --- increase_reservation, decrease_reservation, populate_physmap: each answers the number of extents done


cdef int64_t adjust_reservation(Vcpu *vcpu, uint64_t *args, uint32_t op, uint64_t start) noexcept nogil:
    cdef DomainMemory *memory = &vcpu.domain.memory
    cdef xen_memory_reservation_t reservation
    cdef uint64_t i = start, entry
    if from_guest(vcpu, &reservation, args[1], sizeof(reservation)):
        return <int64_t>start
    if reservation.nr_extents > <uint32_t>-1 >> EXTENT_SHIFT or start >= reservation.nr_extents:
        return <int64_t>start
    if own_domain(vcpu.domain, reservation.domid) or reservation.mem_flags & XENMEMF_populate_on_demand:
        return <int64_t>start
    if reservation.extent_order > MAX_ORDER:
        return <int64_t>start
    while i < reservation.nr_extents:
        if i != start and vcpu.preempt:
            args[0] = i << EXTENT_SHIFT | op
            return HYPERCALL_CONTINUE
        give_way(&memory.lock)
        entry = INVALID_M2P_ENTRY
        if op != XENMEM_increase_reservation and from_guest(vcpu, &entry, reservation.extent_start + 8 * i, 8):
            break
        if op == XENMEM_decrease_reservation:
            if not lose_extent(memory, entry, reservation.extent_order):
                break
        elif not add_extent(vcpu, &reservation, i, entry, op == XENMEM_populate_physmap):
            break
        i += 1
    return <int64_t>i


# Extent `i` of a reservation that grows; its first frame goes into the list.
cdef bint add_extent(Vcpu *vcpu, xen_memory_reservation_t *reservation, uint64_t i, uint64_t pfn,
                     bint list_required) noexcept nogil:
    cdef DomainMemory *memory = &vcpu.domain.memory
    cdef uint64_t mfn
    if memory.tot_pages + (<uint64_t>1 << reservation.extent_order) > memory.max_pages:
        return False
    mfn = gain_extent(memory, pfn, reservation.extent_order, frame_limit(reservation.mem_flags))
    if mfn == INVALID_M2P_ENTRY:
        return False
    if ((list_required or reservation.extent_start)
            and to_guest(vcpu, reservation.extent_start + 8 * i, &mfn, sizeof(mfn))):
        lose_extent(memory, mfn, reservation.extent_order)
        return False
    return True


# --- exchange, in chunks of the larger of the two extents

cdef struct Chunk:
    uint32_t nr_in          # extents in and out that make up a chunk: one of the two is 1
    uint32_t nr_out
    uint64_t taken[1 << MAX_ORDER]      # frames given up
    uint32_t nr_taken
    uint64_t given[1 << MAX_ORDER]      # extents got for them


cdef int64_t exchange(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    cdef xen_memory_exchange_t op
    cdef Chunk chunk
    cdef uint64_t i, nr_exchanged_va = args[1] + 2 * sizeof(xen_memory_reservation_t)
    cdef int64_t result
    if from_guest(vcpu, &op, args[1], sizeof(op)):
        return -XEN_EFAULT
    if op.in_.extent_order > MAX_ORDER or op.out.extent_order > MAX_ORDER:
        return -XEN_EPERM
    if op.nr_exchanged > op.in_.nr_extents or max(op.in_.nr_extents, op.out.nr_extents) > <uint64_t>-1 >> MAX_ORDER:
        return -XEN_EINVAL
    if (op.in_.nr_extents << op.in_.extent_order != op.out.nr_extents << op.out.extent_order
            or op.in_.domid != op.out.domid):
        return -XEN_EINVAL
    result = own_domain(vcpu.domain, op.in_.domid)
    if result:
        return result
    chunk.nr_in = 1 << (op.out.extent_order - op.in_.extent_order) if op.out.extent_order > op.in_.extent_order else 1
    chunk.nr_out = 1 << (op.in_.extent_order - op.out.extent_order) if op.in_.extent_order > op.out.extent_order else 1
    i = op.nr_exchanged // chunk.nr_in
    while i < op.in_.nr_extents // chunk.nr_in:
        if i != op.nr_exchanged // chunk.nr_in and vcpu.preempt:
            result = HYPERCALL_CONTINUE
            break
        give_way(&vcpu.domain.memory.lock)
        result = exchange_chunk(vcpu, &op, &chunk, i)
        if result:
            break
        i += 1
    i *= chunk.nr_in
    return -XEN_EFAULT if to_guest(vcpu, nr_exchanged_va, &i, sizeof(i)) else result


cdef int64_t exchange_chunk(Vcpu *vcpu, xen_memory_exchange_t *op, Chunk *chunk, uint64_t number) noexcept nogil:
    cdef DomainMemory *memory = &vcpu.domain.memory
    cdef uint64_t extent, pfn, where, i, undo
    cdef int64_t result = 0
    chunk.nr_taken = 0
    for i in range(chunk.nr_in):
        if from_guest(vcpu, &extent, op.in_.extent_start + 8 * (number * chunk.nr_in + i), 8):
            result = -XEN_EFAULT
        elif not take_extent(memory, chunk, extent, op.in_.extent_order):
            result = -XEN_EINVAL
        if result:
            return_taken(memory, chunk)
            return result
    for i in range(chunk.nr_out):
        where = op.out.extent_start + 8 * (number * chunk.nr_out + i)
        if from_guest(vcpu, &pfn, where, 8):
            result = -XEN_EFAULT
        else:
            chunk.given[i] = gain_extent(memory, pfn, op.out.extent_order, frame_limit(op.out.mem_flags))
            if chunk.given[i] == INVALID_M2P_ENTRY:
                result = -XEN_ENOMEM
            elif to_guest(vcpu, where, &chunk.given[i], 8):
                lose_extent(memory, chunk.given[i], op.out.extent_order)
                result = -XEN_EFAULT
        if result:
            for undo in range(i):
                lose_extent(memory, chunk.given[undo], op.out.extent_order)
            return_taken(memory, chunk)
            return result
    for i in range(chunk.nr_taken):
        give_way(&memory.lock)
        release_frame(memory, chunk.taken[i])
    return 0


cdef bint take_extent(DomainMemory *memory, Chunk *chunk, uint64_t mfn, uint32_t order) noexcept nogil:
    cdef uint64_t i
    for i in range(<uint64_t>1 << order):
        if not take_frame(memory, mfn + i):
            return False
        chunk.taken[chunk.nr_taken] = mfn + i
        chunk.nr_taken += 1
    return True


cdef void return_taken(DomainMemory *memory, Chunk *chunk) noexcept nogil:
    cdef uint32_t i
    for i in range(chunk.nr_taken):
        return_frame(memory, chunk.taken[i])


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
        return <int64_t>vcpu.domain.memory.tot_pages
    if op == XENMEM_maximum_reservation:
        return <int64_t>vcpu.domain.memory.max_pages
    return maximum_gpfn(vcpu.domain.shared_info.arch.max_pfn)


# A PV guest says in shared_info how many pfns it has.  What no address names is none, and no continuation either.
cdef int64_t maximum_gpfn(uint64_t max_pfn) noexcept nogil:
    return <int64_t>max_pfn - 1 if max_pfn and not max_pfn >> PFN_BITS else 0


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
    if not domain.memory_map.nr:
        return -XEN_ENOSYS
    op.nr_entries = min(op.nr_entries, domain.memory_map.nr)
    if to_guest(vcpu, op.buffer, domain.memory_map.entries, op.nr_entries * sizeof(e820_entry_t)):
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
        domain.memory_map.entries[i] = entries[i]
    domain.memory_map.nr = op.map.nr_entries
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
    if not get_page(&vcpu.domain.memory, op.gpfn):
        return -XEN_ENOENT
    put_page(&vcpu.domain.memory, op.gpfn)     # there is no physmap to take it from
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
