"""The null policy, as Xen's null scheduler: a pcpu belongs to one vcpu, which runs whenever it can, for as long as it
likes.

A vcpu that comes when every pcpu is taken has no place; weights and caps mean nothing where nobody shares.
"""

from libc.stdint cimport uint32_t, uint64_t

from xenia.sched.policy cimport (
    NO_PCPU, SCHED_ASLEEP, SCHED_RUNNING, SCHED_WAITING, Choice, PcpuMask, Policy, SchedDomain, SchedVcpu,
)


cdef void null_init(NullPolicy *policy, SchedVcpu **seats, uint32_t nr_pcpus) noexcept nogil:
    cdef uint32_t pcpu
    policy.ops = Policy(null_add, null_remove, null_wake, null_sleep, null_pick, null_move, null_charge)
    policy.nr_pcpus = nr_pcpus
    policy.seats = seats
    for pcpu in range(nr_pcpus):
        seats[pcpu] = NULL


cdef bint null_add(Policy *ops, SchedVcpu *vcpu) noexcept nogil:
    cdef NullPolicy *policy = <NullPolicy *>ops
    cdef uint32_t pcpu
    for pcpu in range(policy.nr_pcpus):
        if policy.seats[pcpu] == NULL:
            policy.seats[pcpu] = vcpu
            vcpu.pcpu = pcpu
            return True
    vcpu.pcpu = NO_PCPU
    return False


cdef void null_remove(Policy *ops, SchedVcpu *vcpu, uint64_t now) noexcept nogil:
    (<NullPolicy *>ops).seats[vcpu.pcpu] = NULL
    vcpu.pcpu = NO_PCPU
    vcpu.state = SCHED_ASLEEP


cdef int null_wake(Policy *ops, SchedVcpu *vcpu, uint64_t now) noexcept nogil:
    if vcpu.state != SCHED_ASLEEP:
        return NO_PCPU
    vcpu.state = SCHED_WAITING
    return vcpu.pcpu


cdef void null_sleep(Policy *ops, SchedVcpu *vcpu, uint64_t now) noexcept nogil:
    vcpu.state = SCHED_ASLEEP


cdef Choice null_pick(Policy *ops, uint32_t pcpu, uint64_t now) noexcept nogil:
    cdef SchedVcpu *vcpu = (<NullPolicy *>ops).seats[pcpu]
    cdef Choice choice
    choice.vcpu = NULL
    choice.slice_ns = 0
    choice.poke = NO_PCPU
    if vcpu != NULL and vcpu.state != SCHED_ASLEEP:
        vcpu.state = SCHED_RUNNING
        vcpu.yields = 0
        choice.vcpu = vcpu
    return choice


cdef int null_move(Policy *ops, SchedVcpu *vcpu, const PcpuMask *hard, const PcpuMask *soft,
                   uint64_t now) noexcept nogil:
    # It has its pcpu already.
    vcpu.hard = hard[0]
    vcpu.soft = soft[0]
    return NO_PCPU


cdef int null_charge(Policy *ops, SchedDomain *domain, uint64_t ns) noexcept nogil:
    return NO_PCPU
