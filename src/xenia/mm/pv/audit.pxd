# Recounting the frame table from scratch.  For tests and a debug mode.
from libc.stdint cimport uint64_t
from xenia.mm.pv.pvmmu cimport PvMmu

# Every disagreement between what the domain's frames say and what holds them, as text.  `held`: what holds frames from
# outside of mm/ (shared_info, grant frames, a registered vcpu_info): {mfn: (references, type references)}.
# `foreign`: frames of other domains that it may map, {mfn: (entries, writable entries)} at the most.
# Precondition: the domain does not run.
cdef list audit(PvMmu *mmu, dict held, dict foreign)
