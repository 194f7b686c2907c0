# A domain's beginning and end as plain state.
from libc.stdint cimport uint16_t, uint64_t
from xenia.cpu.processor cimport Processor
from xenia.domain.domain cimport Domain, Vcpu
from xenia.machine.machine cimport Machine

# State of a domain before it is built: no channels, not shut down, one vcpu that is down.  `domain` is zeroed memory;
# machine, domid, mmu, shared_info and vcpu.processor are the builder's to fill in.  False: there is no memory for it.
cdef bint domain_init(Domain *domain) noexcept nogil
# The domain's next vcpu, down; its processor and info are the builder's to fill in.  NULL: it has MAX_VCPUS, or there
# is no memory.
cdef Vcpu *vcpu_create(Domain *domain) noexcept nogil
# Ends the domain for `reason` (SHUTDOWN_*), unless the guest had given another with SCHEDOP_shutdown_code.
cdef void domain_shutdown(Domain *domain, int reason) noexcept nogil
cdef void domain_crash(Domain *domain, const char *reason) noexcept nogil    # SHUTDOWN_crash, and why
# Holds the frames of the store's and the console's ring as writable memory, for the backends that read and write them.
# 0, or a negative errno where they are not that.
cdef int domain_hold_rings(Domain *domain) noexcept nogil
# Lets go of the frames that hypercalls made Xenia hold for the domain (vcpu_info, the pirq_eoi page), and of the rings.
cdef void domain_release_frames(Domain *domain) noexcept nogil
