# What the host does for a domain on threads of its own (backends, the store): it counts as the domain's time.
from libc.stdint cimport int64_t, uint32_t, uint64_t
from xenia.sched.cap cimport within_cap
from xenia.sched.credit cimport CreditPolicy
from xenia.sched.paid cimport price
from xenia.sched.policy cimport SchedDomain, SchedVcpu

cdef enum:
    LEAST_OWED_NS = 200_000     # less is not worth a decision
    MOST_OWED_NS = 10_000_000


cdef inline bint owes(const SchedDomain *domain) noexcept nogil:
    return domain.owed >= LEAST_OWED_NS


cdef inline void owe(SchedDomain *domain, uint64_t ns) noexcept nogil:
    domain.owed = min(domain.owed + <int64_t>min(ns, <uint64_t>MOST_OWED_NS), <int64_t>MOST_OWED_NS)


# While none of its vcpus wanted a processor, it was worked for on what it did not use.
cdef inline void slept(SchedDomain *domain, uint64_t ns) noexcept nogil:
    domain.owed -= min(domain.owed, <int64_t>min(ns, <uint64_t>MOST_OWED_NS))


# Another domain has something to run, and every other pcpu runs somebody: a thread that works for a domain takes its
# processor from one of them.
cdef inline bint crowded(CreditPolicy *policy, uint32_t number) noexcept nogil:
    cdef uint32_t pcpu
    if policy.nr_awake < 2:
        return False
    for pcpu in range(policy.nr_pcpus):
        if pcpu != number and policy.pcpus[pcpu].running == NULL:
            return False
    return True


# The vcpu pays for all of it, and its domain stands for as long where its turn would be at the cost of others.
cdef inline void settle(CreditPolicy *policy, SchedVcpu *vcpu, uint32_t number, uint64_t now) noexcept nogil:
    cdef SchedDomain *domain = vcpu.domain
    vcpu.waiting.key += price(vcpu, <uint64_t>domain.owed)
    if crowded(policy, number):
        domain.stands_until = now + <uint64_t>domain.owed
    domain.owed = 0


cdef inline bint may_run(SchedDomain *domain, uint64_t now) noexcept nogil:
    return within_cap(domain, now) and domain.stands_until <= now


# When to ask again: may_run said no.
cdef inline uint64_t again_at(const SchedDomain *domain) noexcept nogil:
    if domain.cap and domain.budget <= 0:
        return max(domain.refill_at, domain.stands_until)
    return domain.stands_until
