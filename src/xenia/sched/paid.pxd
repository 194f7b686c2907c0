# What vcpus pay under the credit policy, and the virtual time that it makes.
from libc.stdint cimport int64_t, uint32_t, uint64_t
from xenia.sched.credit cimport CreditPcpu, CreditPolicy
from xenia.sched.policy cimport DEFAULT_WEIGHT, SchedVcpu, mask_has


cdef inline bint less(uint64_t one, uint64_t other) noexcept nogil:
    return <int64_t>(one - other) < 0


# What a vcpu pays for so much time.
cdef inline uint64_t price(SchedVcpu *vcpu, uint64_t ns) noexcept nogil:
    cdef uint64_t share = max(vcpu.domain.active, <uint32_t>1) * <uint64_t>DEFAULT_WEIGHT
    return ns * share // max(vcpu.domain.weight, <uint32_t>1)


cdef inline uint64_t time_for(SchedVcpu *vcpu, uint64_t paid) noexcept nogil:
    cdef uint64_t share = max(vcpu.domain.active, <uint32_t>1) * <uint64_t>DEFAULT_WEIGHT
    return paid * max(vcpu.domain.weight, <uint32_t>1) // share


cdef inline void pay(CreditPolicy *policy, SchedVcpu *vcpu, uint64_t now) noexcept nogil:
    # By who runs.
    cdef CreditPcpu *pcpu = &policy.pcpus[vcpu.pcpu]
    cdef uint64_t ran = now - vcpu.since if now > vcpu.since else 0
    cdef uint64_t paid = price(vcpu, ran)
    vcpu.since = now
    vcpu.waiting.key += paid
    if vcpu.domain.cap:
        vcpu.domain.budget -= <int64_t>ran
    if pcpu.nr_queues == 0 and less(pcpu.time, vcpu.waiting.key):
        pcpu.time += min(paid, vcpu.waiting.key - pcpu.time)


# The time of the pcpus on which it competes.
cdef inline uint64_t time_of(CreditPolicy *policy, SchedVcpu *vcpu) noexcept nogil:
    cdef uint64_t time = 0
    cdef bint any = False
    cdef uint32_t pcpu
    for pcpu in range(policy.nr_pcpus):
        if mask_has(&vcpu.hard, pcpu) and (not any or less(time, policy.pcpus[pcpu].time)):
            time = policy.pcpus[pcpu].time
            any = True
    return time


cdef inline void lag_at_most(CreditPolicy *policy, SchedVcpu *vcpu, uint64_t ns) noexcept nogil:
    cdef uint64_t least = time_of(policy, vcpu) - price(vcpu, ns)
    if less(vcpu.waiting.key, least):
        vcpu.waiting.key = least
