# The credit policy.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from xenia.sched.heap cimport Heap
from xenia.sched.policy cimport Policy, SchedVcpu
from xenia.sched.queues cimport CreditQueue

cdef struct CreditPcpu:
    SchedVcpu *running
    uint8_t poked           # it is about to choose anew
    uint8_t for_ever        # who runs was given no end
    uint32_t nr_queues      # in which somebody waits who may run here
    uint64_t time           # virtual: what those who run here have paid by now, of those that compete

cdef struct CreditPolicy:
    Policy ops              # first: a CreditPolicy * is a Policy *
    uint32_t nr_pcpus
    CreditPcpu *pcpus
    CreditQueue *queues
    Heap parked             # domains of which somebody is parked, by when their budget is filled up
    uint32_t nr_vcpus
    uint32_t nr_awake       # domains
    uint8_t spare           # the host has more processors than there are pcpus

# False: there is no memory.
cdef bint credit_init(CreditPolicy *policy, uint32_t nr_pcpus, bint spare) noexcept nogil
cdef void credit_free(CreditPolicy *policy) noexcept nogil
