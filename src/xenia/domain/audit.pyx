"""Recounting a domain's frames from scratch: what mm/audit does, and what holds frames above mm/.

These are the frames that Xen shares with the domain (shared_info, grant frames: Xen's own reference, as FRAME_SHARED),
and those of the domain that Xen writes to (a registered vcpu_info, the PIRQ EOI map: one reference, as FRAME_WRITABLE).
"""

from libc.stdint cimport uint64_t

from xenia.abi.xen cimport INVALID_M2P_ENTRY
from xenia.machine.machine cimport FRAME_ALLOCATED
from xenia.mm.audit cimport audit


cdef list audit_domain(Domain *domain):
    cdef unsigned i
    held = {}
    if domain.shared_info_mfn != INVALID_M2P_ENTRY:
        share(domain, held, domain.shared_info_mfn)
    for i in range(domain.nr_grant_frames):
        share(domain, held, domain.grant_frames[i])
    if domain.vcpu[0].info_mfn != INVALID_M2P_ENTRY:
        hold(held, domain.vcpu[0].info_mfn)
    if domain.pirq_eoi_mfn:
        hold(held, domain.pirq_eoi_mfn)
    return audit(&domain.mmu, &domain.vcpu[0].mmu, held)


cdef share(Domain *domain, dict held, uint64_t mfn):
    held[mfn] = (0 if domain.machine.frames[mfn].flags & FRAME_ALLOCATED else 1, 1)


cdef hold(dict held, uint64_t mfn):
    refs, type_refs = held.get(mfn, (0, 0))
    held[mfn] = (refs + 1, type_refs + 1)
