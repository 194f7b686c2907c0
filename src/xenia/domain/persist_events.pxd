# A domain's event channels and its grant table, saved and restored (domain/saved.py).  Precondition: it does not run.
from xenia.domain.domain cimport Domain

cdef object events_save(Domain *domain)                         # a SavedEvents
# Precondition: none was bound, and its vcpus are restored.  ConfigError where a frame is not what it has to be.
cdef int events_restore(Domain *domain, object saved) except -1
# a SavedGrants; ConfigError while somebody holds a grant
cdef object grants_save(Domain *domain)
cdef int grants_restore(Domain *domain, object saved) except -1
