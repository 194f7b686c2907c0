# How a domain ends.  From any thread, whatever it holds of the domain's.
from xenia.domain.domain cimport Domain

# Ends the domain for `reason` (SHUTDOWN_*), unless the guest had given another with SCHEDOP_shutdown_code.
cdef void domain_shutdown(Domain *domain, int reason) noexcept nogil
cdef void domain_crash(Domain *domain, const char *reason) noexcept nogil    # SHUTDOWN_crash, and why
