# Recounting a domain's frames from scratch.
from xenia.domain.domain cimport Domain

# mm/pv/audit's, with what the domain itself holds.  Precondition: the domain does not run.
cdef list audit_domain(Domain *domain)
