"""How a domain ends: by its own word, for a reason that sticks.  What it had is given back later (create.pyx)."""
from libc.string cimport strncpy
from xenia.domain.domain cimport SHUTDOWN_NONE, SHUTDOWN_crash


cdef void domain_shutdown(Domain *domain, int reason) noexcept nogil:
    if domain.life.shutdown_code == SHUTDOWN_NONE:
        domain.life.shutdown_code = reason
    if domain.life.shutdown == SHUTDOWN_NONE:
        domain.life.shutdown = domain.life.shutdown_code


cdef void domain_crash(Domain *domain, const char *reason) noexcept nogil:
    # The first reason stays: what follows a crash is its consequence.
    if domain.life.shutdown == SHUTDOWN_NONE:
        strncpy(domain.life.crash_reason, reason, sizeof(domain.life.crash_reason) - 1)
        domain_shutdown(domain, SHUTDOWN_crash)
