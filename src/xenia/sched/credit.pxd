# The credit policy.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from xenia.sched.policy cimport Policy, SchedDomain, SchedVcpu

cdef struct CreditPolicy:
    Policy ops              # first: a CreditPolicy * is a Policy *
    uint32_t nr_pcpus
    SchedVcpu **running     # on each pcpu
    uint8_t *poked          # which are about to choose anew
    SchedVcpu **queue       # who waits: a heap, most credit first
    uint32_t nr_queued
    uint32_t nr_vcpus
    uint32_t room
    int64_t given           # what everybody has been given since the beginning
    uint64_t turns
    SchedDomain *parked     # domains of which somebody is parked

# False: there is no memory.
cdef bint credit_init(CreditPolicy *policy, uint32_t nr_pcpus) noexcept nogil
cdef void credit_free(CreditPolicy *policy) noexcept nogil
