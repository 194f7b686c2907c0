# Event channels (two-level ABI).  Only the thread that runs the domain changes its shared words; others use the mailbox.
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from xenia.domain.domain cimport Domain, Vcpu

cdef void event_set_pending(Domain *domain, uint32_t port) noexcept nogil         # by the domain's own thread
cdef void event_post(Domain *domain, uint32_t port) noexcept nogil                # from any thread: mailbox, then kick and wake
cdef void events_apply_mailbox(Domain *domain) noexcept nogil
cdef bint events_pending(Vcpu *vcpu) noexcept nogil                               # upcall pending and not masked
cdef void virq_send(Vcpu *vcpu, int virq) noexcept nogil
cdef int64_t event_send(Domain *domain, uint32_t port) noexcept nogil             # EVTCHNOP_send
