# The null policy.
from libc.stdint cimport uint32_t
from xenia.sched.policy cimport Policy, SchedVcpu

cdef struct NullPolicy:
    Policy ops              # first: a NullPolicy * is a Policy *
    uint32_t nr_pcpus
    SchedVcpu **seats       # of each pcpu: whose it is

# `seats`: room for one of each pcpu, the caller's.
cdef void null_init(NullPolicy *policy, SchedVcpu **seats, uint32_t nr_pcpus) noexcept nogil
