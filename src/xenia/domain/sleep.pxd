# A domain that sleeps for good.
from libc.stdint cimport uint64_t
from xenia.domain.domain cimport Domain

# Both by who has the turn.
# None of its vcpus has anything to do.
cdef bint domain_idle(Domain *domain) noexcept nogil
# Look at a domain that is idle, at system time `now`, with its next timer at `deadline` (0 none): whether nothing that
# comes from outside can ever bring it back.
cdef bint sleeps_for_good(Domain *domain, uint64_t now, uint64_t deadline) noexcept nogil
