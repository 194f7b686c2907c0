"""A domain's handles of frames that others granted it (public/grant_table.h: map_grant_ref and its opposites).

A handle is a hold with a place in the domain's page tables (a host mapping), with the right to be named to a device (a
device mapping: there is no I/O MMU, so that is a number and nothing else), or both.  The hold is given back when
neither is left, after the last translation of the frame was flushed.

A domain may map what it granted itself by its own number.  Such an entry is like any other entry of its own frames,
with a reference of its own.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memset

from xenia.abi.grant_table cimport (
    GNTMAP_application_map, GNTMAP_contains_pte, GNTMAP_device_map, GNTMAP_guest_avail0, GNTMAP_host_map,
    GNTMAP_readonly, GNTST_bad_dev_addr, GNTST_bad_gntref, GNTST_bad_handle, GNTST_general_error, GNTST_no_space,
    GNTST_okay,
)
from xenia.domain.domain cimport Domain, GrantHold, GrantMap, Vcpu
from xenia.domain.grants cimport GRANT_MAP, grant_hold, grant_release
from xenia.machine.lock cimport lock, unlock
from xenia.machine.machine cimport FRAME_L1, frame_words
from xenia.machine.paging cimport PAGE_ACCESSED, PAGE_DIRTY, PAGE_PRESENT, PAGE_RW, PAGE_USER
from xenia.mm.memory cimport (
    ALL_PROCESSORS, DomainMemory, mm_flush_all, mm_flush_frame, mm_forget_code, mm_pte_changed,
)
from xenia.mm.pv.foreign cimport EntryPlace, map_foreign, maps_foreign, place_of_entry, place_of_va, unmap_foreign
from xenia.mm.pv.update cimport mod_entry
from xenia.mm.walk cimport entry_exchange

cdef enum:
    FIRST_MAPS = 64
    MAX_MAPS = 1 << 18          # Xen's default: 1024 frames of handles
    MAPPED = GNTMAP_device_map | GNTMAP_host_map


cdef int grant_map(Vcpu *vcpu, Domain *granter, uint32_t ref, uint32_t flags, uint64_t host_addr, uint32_t *handle,
                   uint64_t *maddr) noexcept nogil:
    cdef Domain *domain = vcpu.domain
    cdef bint writable = not flags & GNTMAP_readonly
    cdef GrantHold hold
    cdef GrantMap *entry
    cdef uint32_t number
    cdef int status
    if not flags & MAPPED:
        return GNTST_bad_gntref
    number = take_handle(domain)
    if number == NO_HANDLE:
        return GNTST_no_space
    status = grant_hold(granter, domain.domid, ref, writable, GRANT_MAP, &hold)
    if status == GNTST_okay and flags & GNTMAP_host_map:
        status = map_host(vcpu, &hold, flags, host_addr)
        if status != GNTST_okay:
            grant_release(&hold)
    if status != GNTST_okay:
        free_handle(domain, number)
        return status
    entry = &domain.maptrack.maps[number]
    entry.hold = hold
    entry.flags = <uint16_t>flags
    entry.domid = granter.domid
    handle[0] = number
    maddr[0] = hold.mfn << 12
    return GNTST_okay


cdef int map_host(Vcpu *vcpu, GrantHold *hold, uint32_t flags, uint64_t host_addr) noexcept nogil:
    cdef Domain *domain = vcpu.domain
    cdef uint64_t entry = hold.mfn << 12 | PAGE_PRESENT | PAGE_ACCESSED | PAGE_DIRTY
    cdef EntryPlace place
    cdef int status = GNTST_okay
    if hold.writable:
        entry |= PAGE_RW
    if flags & GNTMAP_application_map:
        entry |= PAGE_USER
    entry |= <uint64_t>(flags >> GNTMAP_guest_avail0 & 7) << 9
    lock(&domain.memory.lock)
    if not find(vcpu, flags, host_addr, &place):
        status = GNTST_general_error
    elif hold.granter == vcpu.domain:
        if mod_entry(&domain.mmu, FRAME_L1, place.table, place.index, entry, False):
            status = GNTST_general_error
    else:
        map_foreign(&domain.mmu, &place, entry)
    unlock(&domain.memory.lock)
    return status


cdef bint find(Vcpu *vcpu, uint32_t flags, uint64_t host_addr, EntryPlace *place) noexcept nogil:
    if flags & GNTMAP_contains_pte:
        return place_of_entry(&vcpu.domain.mmu, host_addr, place)
    return place_of_va(&vcpu.domain.mmu, vcpu.mmu.root_kernel, host_addr, place)


cdef int grant_unmap(Vcpu *vcpu, uint32_t handle, uint64_t host_addr, uint64_t dev_bus_addr,
                     uint64_t new_addr) noexcept nogil:
    cdef Domain *domain = vcpu.domain
    cdef GrantMap *entry
    cdef int status
    if handle >= domain.maptrack.nr or not domain.maptrack.maps[handle].flags:
        return GNTST_bad_handle
    entry = &domain.maptrack.maps[handle]
    if dev_bus_addr and entry.flags & GNTMAP_device_map and dev_bus_addr != entry.hold.mfn << 12:
        return GNTST_bad_dev_addr
    if host_addr and entry.flags & GNTMAP_host_map:
        status = unmap_host(vcpu, entry, host_addr, new_addr)
        if status != GNTST_okay:
            return status
        entry.flags &= ~GNTMAP_host_map
    if dev_bus_addr:
        entry.flags &= ~GNTMAP_device_map
    if not entry.flags & MAPPED:
        grant_release(&entry.hold)
        free_handle(domain, handle)
    return GNTST_okay


cdef int unmap_host(Vcpu *vcpu, GrantMap *entry, uint64_t host_addr, uint64_t new_addr) noexcept nogil:
    cdef Domain *domain = vcpu.domain
    cdef bint own = entry.hold.granter == vcpu.domain
    cdef EntryPlace place, other
    cdef int status = GNTST_general_error
    lock(&domain.memory.lock)
    if new_addr and (entry.flags & GNTMAP_contains_pte
                     or not place_of_va(&domain.mmu, vcpu.mmu.root_kernel, new_addr, &other)):
        status = GNTST_general_error
    elif (find(vcpu, entry.flags, host_addr, &place)
          and maps_foreign(&domain.mmu, &place, entry.hold.mfn, entry.hold.writable)):
        if new_addr and other.table == place.table and other.index == place.index:
            status = GNTST_general_error
        else:
            if own:
                mod_entry(&domain.mmu, FRAME_L1, place.table, place.index, 0, False)
                mm_flush_frame(&domain.memory, entry.hold.mfn)
            else:
                unmap_foreign(&domain.mmu, &place)
            # The granter may change what is in the frame, unseen by this processor, and grant it again.
            mm_forget_code(&domain.memory, entry.hold.mfn << 12, 4096)
            if new_addr:
                move(&domain.memory, &other, &place)
            status = GNTST_okay
    unlock(&domain.memory.lock)
    return status


cdef void move(DomainMemory *memory, EntryPlace *source, EntryPlace *target) noexcept nogil:
    # The entry, and whatever it holds, goes to another place, which is empty.
    cdef uint64_t *old = &frame_words(memory.machine, source.table)[source.index]
    cdef uint64_t *new = &frame_words(memory.machine, target.table)[target.index]
    cdef uint64_t moved = entry_exchange(old, 0)    # with what a processor marked there meanwhile
    entry_exchange(new, moved)
    mm_pte_changed(memory, target.table, target.index, 0, moved)
    mm_pte_changed(memory, source.table, source.index, moved, 0)
    mm_flush_all(memory, ALL_PROCESSORS)


# --- handles ---


cdef uint32_t take_handle(Domain *domain) noexcept nogil:
    cdef uint32_t number = domain.maptrack.first_free, size, i
    cdef GrantMap *maps
    if number == domain.maptrack.nr:
        size = domain.maptrack.nr * 2 if domain.maptrack.nr else FIRST_MAPS
        if size > MAX_MAPS:
            return NO_HANDLE
        maps = <GrantMap *>realloc(domain.maptrack.maps, size * sizeof(GrantMap))
        if maps == NULL:
            return NO_HANDLE
        memset(&maps[number], 0, (size - number) * sizeof(GrantMap))
        for i in range(number, size):
            maps[i].next_free = i + 1
        domain.maptrack.maps = maps
        domain.maptrack.nr = size
    domain.maptrack.first_free = domain.maptrack.maps[number].next_free
    return number


cdef void free_handle(Domain *domain, uint32_t number) noexcept nogil:
    domain.maptrack.maps[number].flags = 0
    domain.maptrack.maps[number].next_free = domain.maptrack.first_free
    domain.maptrack.first_free = number


cdef void grant_maps_release(Domain *domain) noexcept nogil:
    cdef uint32_t i
    for i in range(domain.maptrack.nr):
        if domain.maptrack.maps[i].flags:
            grant_release(&domain.maptrack.maps[i].hold)
            free_handle(domain, i)


cdef bint grant_maps_frame(Domain *domain, uint64_t mfn) noexcept nogil:
    cdef uint32_t i
    for i in range(domain.maptrack.nr):
        if domain.maptrack.maps[i].flags and domain.maptrack.maps[i].hold.mfn == mfn:
            return True
    return False
