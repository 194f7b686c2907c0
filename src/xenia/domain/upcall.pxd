# How a vcpu is told that events wait for it.
from xenia.domain.domain cimport Vcpu

cdef void mark_events_pending(Vcpu *vcpu) noexcept nogil                          # by the domain's own thread
cdef bint events_pending(Vcpu *vcpu) noexcept nogil                               # upcall pending and not masked
cdef void vcpu_unblock(Vcpu *vcpu) noexcept nogil                                 # ends SCHEDOP_block and SCHEDOP_poll
