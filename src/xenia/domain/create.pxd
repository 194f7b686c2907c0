# A domain's beginning and end: one builder and one undertaker, for the hypervisor and for tests alike.
from libc.stdint cimport uint16_t, uint64_t
from xenia.cpu.processor cimport Processor
from xenia.domain.domain cimport Directory, Domain, GuestAbi, Vcpu
from xenia.machine.machine cimport Machine

# A domain without memory of its own, and all that a PV domain has from the start: shared_info, a grant table of one
# frame, the tables of its descriptors, one vcpu, which is down, on `processor`.  It is found in `directory` from here
# on (NULL: it meets nobody).  Its clock is the caller's to start.  0; -XEN_ENOMEM; -XEN_EEXIST, somebody has the
# number: then nothing is left of it.
cdef int domain_create(Domain **created, Machine *machine, Directory *directory, uint16_t domid,
                       const GuestAbi *abi, Processor *processor) noexcept nogil
# One vcpu more, down.  NULL: it has MAX_VCPUS, or there is no memory.
cdef Vcpu *vcpu_create(Domain *domain, Processor *processor) noexcept nogil
# The vcpu begins on the L4 `root`, which stays pinned, as the builder leaves it.  0, or a negative errno: it does not
# validate.
cdef int vcpu_begin_on(Vcpu *vcpu, uint64_t root) noexcept nogil
# Holds the frames of the store's and the console's ring as writable memory, for the backends that read and write them.
# 0, or a negative errno where they are not that.
cdef int domain_hold_rings(Domain *domain) noexcept nogil
# Everything that it holds is given back, once; it runs no more.  How many of its frames others hold still.  What
# `domain` points to stays until the last user leaves it (domain_leave).
cdef uint64_t domain_destroy(Domain *domain) noexcept nogil
