"""Recounting a domain's frames from scratch: what mm/pv/audit does, and what holds frames above mm/.

Whoever keeps a frame's number, or a pointer into it, from one entry of the guest to the next holds the frame, as the
type that it has to be.  These are all of them:

    what                         kept in                         held as            until
    store's and console's ring   their backends                  writable           domain_destroy: the backends are
                                                                                      closed then
    vcpu_info                    vcpu.info                       writable           vcpu_info_release
    FIFO control block, array    events.fifo_control, .array     writable           fifo_end: EVTCHNOP_reset, or the end
    PIRQ EOI map                 pirq_eoi_mfn                    writable           domain_destroy
    shared_info, grant table,    domain.*, Xen's own frames      shared             the domain's end; no guest can give
      status frames                                                                   them away (grant_frames: version 1
                                                                                      again)
    granted frames               GrantHold (handles, backends)   writable, or none  grant_release: after the last
                                                                   where it only      translation or Window of it
                                                                   reads
    base pointers, page tables   vcpu.mmu, the entries above     L1 to L4           the entry or pointer goes
    GDT frames, LDT pages        gdt_frames, perdomain_l1        descriptors        release_gdt, unmap_ldt
    M2P, per-domain tables,      Machine, PvMmu                  DOMID_XEN's        nobody else can have them
      null, reserved descriptors
    what is copied, exchanged,   the stack of the hypercall      writable or none   it returns; domain/written.pyx keeps
      transferred, emulated                                                           numbers only
    translations                 the engine's TLB and blocks     nothing            flush_frame and code_dirty, before a
                                                                                      frame is freed or retyped

Runstate and time areas, the I/O bitmap and all arguments are guest addresses: they are walked whenever they are used,
and nothing is kept.  Frames that others hold count a reference each, as FRAME_WRITABLE where they may write; Xen's own
are FRAME_SHARED, by a reference of Xen's.
"""

from libc.stdint cimport uint32_t, uint64_t

from xenia.abi.grant_table cimport GNTMAP_host_map
from xenia.abi.xen cimport INVALID_M2P_ENTRY
from xenia.domain.domain cimport GrantMap
from xenia.domain.grant_state cimport GrantRecord
from xenia.mm.pv.audit cimport audit


cdef list audit_domain(Domain *domain):
    cdef GrantRecord *record
    cdef unsigned i
    held = {}
    if domain.shared_info_mfn != INVALID_M2P_ENTRY:
        share(held, domain.shared_info_mfn)
    for i in range(domain.grants.nr_frames):
        share(held, domain.grants.frames[i])
    for i in range(domain.grants.nr_status_frames):
        share(held, domain.grants.status_frames[i])
    for i in range(domain.nr_vcpus):
        if domain.vcpus[i].info_mfn != INVALID_M2P_ENTRY:
            hold(held, domain.vcpus[i].info_mfn)
        if domain.vcpus[i].events.fifo_control != NULL:
            hold(held, domain.vcpus[i].events.fifo_control_mfn)
    if domain.rings.held:
        hold(held, domain.rings.store_mfn)
        hold(held, domain.rings.console_mfn)
    for i in range(domain.events.nr_array):
        hold(held, domain.events.array[i])
    if domain.events.pirq_eoi_mfn:
        hold(held, domain.events.pirq_eoi_mfn)
    for i in range(64 * 512):
        if domain.grants.records[i >> 9] != NULL:
            record = &domain.grants.records[i >> 9][i & 511]
            if record.readers or record.writers:
                refs, type_refs = held.get(record.mfn, (0, 0))
                held[record.mfn] = (refs + record.readers + record.writers, type_refs + record.writers)
    return audit(&domain.mmu, held, foreign(domain))


cdef dict foreign(Domain *domain):
    # Frames of other domains that handles let it map: how often, and how often writable.
    cdef GrantMap *entry
    cdef uint32_t i
    mapped = {}
    for i in range(domain.maptrack.nr):
        entry = &domain.maptrack.maps[i]
        if entry.flags & GNTMAP_host_map and entry.hold.granter != domain:
            times, writable = mapped.get(entry.hold.mfn, (0, 0))
            mapped[entry.hold.mfn] = (times + 1, writable + entry.hold.writable)
    return mapped


cdef share(dict held, uint64_t mfn):
    held[mfn] = (1, 1)


cdef hold(dict held, uint64_t mfn):
    refs, type_refs = held.get(mfn, (0, 0))
    held[mfn] = (refs + 1, type_refs + 1)
