# The nouns of a domain, saved and restored (domain/saved.py).  Precondition of all: the domain does not run.
from libc.stdint cimport uint64_t
from xenia.domain.domain cimport Domain, Vcpu
from xenia.domain.clock cimport Clock

cdef object domain_save(Domain *domain)                         # a SavedDomain
cdef int domain_restore(Domain *domain, object saved) except -1
cdef object clock_save(Domain *domain)                          # a SavedClock
# Time goes on from where it was; the wallclock is the host's.  Precondition: the clock was started.
cdef int clock_restore(Domain *domain, object saved) except -1
cdef object vcpu_save(Vcpu *vcpu)                               # a SavedVcpu
# Its page tables are validated, and held, as its base pointers.  ConfigError where they, or its GDT, are not what they
# have to be.  Precondition: it has none yet.
cdef int vcpu_restore(Vcpu *vcpu, object saved) except -1
