"""How a domain ends: by its own word, for a reason that sticks.  All its vcpus stop.  What it had is given back later
(create.pyx)."""
from libc.stdint cimport uint32_t
from libc.string cimport strncpy
from xenia.domain.domain cimport SHUTDOWN_NONE, SHUTDOWN_crash
from xenia.domain.upcall cimport vcpu_rouse
from xenia.machine.atomic cimport flag_swap, number_swap


cdef void domain_shutdown(Domain *domain, int reason) noexcept nogil:
    cdef uint32_t id
    number_swap(&domain.life.shutdown_code, SHUTDOWN_NONE, reason)
    if number_swap(&domain.life.shutdown, SHUTDOWN_NONE, domain.life.shutdown_code) and domain.nr_vcpus > 1:
        for id in range(domain.nr_vcpus):
            vcpu_rouse(domain.vcpus[id])


cdef void domain_crash(Domain *domain, const char *reason) noexcept nogil:
    # The first reason stays: what follows a crash is its consequence.
    if domain.life.shutdown == SHUTDOWN_NONE and flag_swap(&domain.life.has_reason, 0, 1):
        strncpy(domain.life.crash_reason, reason, sizeof(domain.life.crash_reason) - 1)
        domain_shutdown(domain, SHUTDOWN_crash)
