"""Recounting a domain's frames from scratch: what mm/audit does, and what holds frames above mm/.

These are the frames that others hold by a grant (a reference each, as FRAME_WRITABLE where they may write), the frames that Xen shares with the domain (shared_info, grant frames: Xen's own reference, as FRAME_SHARED),
and those of the domain that Xen or a backend of ours writes to (a registered vcpu_info, FIFO control block and event array, the PIRQ EOI map,
the rings of the store and the console: one reference, as FRAME_WRITABLE).
"""

from libc.stdint cimport uint32_t, uint64_t

from xenia.abi.grant_table cimport GNTMAP_host_map
from xenia.abi.xen cimport INVALID_M2P_ENTRY
from xenia.domain.domain cimport GrantMap, GrantRecord
from xenia.machine.machine cimport FRAME_ALLOCATED
from xenia.mm.audit cimport audit


cdef list audit_domain(Domain *domain):
    cdef GrantRecord *record
    cdef unsigned i
    held = {}
    if domain.shared_info_mfn != INVALID_M2P_ENTRY:
        share(domain, held, domain.shared_info_mfn)
    for i in range(domain.nr_grant_frames):
        share(domain, held, domain.grant_frames[i])
    for i in range(domain.nr_status_frames):
        share(domain, held, domain.status_frames[i])
    if domain.vcpu[0].info_mfn != INVALID_M2P_ENTRY:
        hold(held, domain.vcpu[0].info_mfn)
    if domain.vcpu[0].fifo_control != NULL:
        hold(held, domain.vcpu[0].fifo_control_mfn)
    if domain.rings_held:
        hold(held, domain.store_mfn)
        hold(held, domain.console_mfn)
    for i in range(domain.nr_event_array):
        hold(held, domain.event_array[i])
    if domain.pirq_eoi_mfn:
        hold(held, domain.pirq_eoi_mfn)
    for i in range(64 * 512):
        if domain.grant_records[i >> 9] != NULL:
            record = &domain.grant_records[i >> 9][i & 511]
            if record.readers or record.writers:
                refs, type_refs = held.get(record.mfn, (0, 0))
                held[record.mfn] = (refs + record.readers + record.writers, type_refs + record.writers)
    return audit(&domain.mmu, &domain.vcpu[0].mmu, held, foreign(domain))


cdef dict foreign(Domain *domain):
    # Frames of other domains that handles let it map: how often, and how often writable.
    cdef GrantMap *entry
    cdef uint32_t i
    mapped = {}
    for i in range(domain.nr_grant_maps):
        entry = &domain.grant_maps[i]
        if entry.flags & GNTMAP_host_map and entry.hold.granter != domain:
            times, writable = mapped.get(entry.hold.mfn, (0, 0))
            mapped[entry.hold.mfn] = (times + 1, writable + entry.hold.writable)
    return mapped


cdef share(Domain *domain, dict held, uint64_t mfn):
    held[mfn] = (0 if domain.machine.frames[mfn].flags & FRAME_ALLOCATED else 1, 1)


cdef hold(dict held, uint64_t mfn):
    refs, type_refs = held.get(mfn, (0, 0))
    held[mfn] = (refs + 1, type_refs + 1)
