# What a domain with a cap may use up: a budget for each period.
from libc.stdint cimport int64_t, uint64_t
from xenia.sched.policy cimport SchedDomain

cdef enum:
    PERIOD_NS = 10_000_000


cdef inline int64_t whole_budget(SchedDomain *domain) noexcept nogil:
    return <int64_t>domain.cap * (PERIOD_NS // 100)


cdef inline void refill(SchedDomain *domain, uint64_t now) noexcept nogil:
    cdef int64_t periods
    if now < domain.refill_at:
        return
    if domain.refill_at == 0:
        domain.budget = whole_budget(domain)
        domain.refill_at = now + PERIOD_NS
        return
    periods = 1 + <int64_t>((now - domain.refill_at) // PERIOD_NS)
    domain.budget = min(domain.budget + periods * whole_budget(domain), 2 * whole_budget(domain))
    domain.refill_at += periods * PERIOD_NS


# Whether its vcpus may run.
cdef inline bint within_cap(SchedDomain *domain, uint64_t now) noexcept nogil:
    if domain.cap == 0:
        return True
    refill(domain, now)
    return domain.budget > 0
