# Event channels.  Only who has the domain's turn changes its shared words; others use the mailbox.
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from xenia.domain.domain cimport Domain, Vcpu
from xenia.domain.event_state cimport EventChannel, Listener

cdef void event_set_pending(Domain *domain, uint32_t port) noexcept nogil         # by who has the turn
# from any thread: mailbox, then kick and wake
cdef void event_post(Domain *domain, uint32_t port) noexcept nogil
# Who runs a vcpu calls it, with the turn, before it enters the guest, and between marking the vcpu blocked and waiting
# to be woken: that order, with event_post's, is what loses no wake-up.
cdef void events_apply_mailbox(Domain *domain) noexcept nogil
cdef void virq_send(Vcpu *vcpu, int virq) noexcept nogil                          # by who has the turn
cdef int64_t event_send(Domain *domain, uint32_t port) noexcept nogil             # EVTCHNOP_send

# The other EVTCHNOP_*: a port, 0 or -XEN_E*.
cdef int64_t event_alloc_unbound(Domain *domain, uint16_t remote_domid) noexcept nogil
cdef int64_t event_bind_interdomain(Domain *domain, uint16_t remote_domid, uint32_t remote_port) noexcept nogil
cdef int64_t event_bind_virq(Domain *domain, uint32_t virq, uint32_t vcpu_id) noexcept nogil
cdef int64_t event_bind_ipi(Domain *domain, uint32_t vcpu_id) noexcept nogil
cdef int64_t event_bind_vcpu(Domain *domain, uint32_t port, uint32_t vcpu_id) noexcept nogil
cdef int64_t event_close(Domain *domain, uint32_t port) noexcept nogil
cdef int64_t event_unmask(Domain *domain, uint32_t port) noexcept nogil
cdef int64_t event_set_priority(Domain *domain, uint32_t port, uint32_t priority) noexcept nogil
# ends with no channel, on the two-level ABI
cdef int64_t event_reset(Domain *domain) noexcept nogil
cdef bint event_port_pending(Domain *domain, uint32_t port) noexcept nogil

# Xenia's own ends.  event_connect is a backend binding to a port that the guest, or the builder, left unbound for
# `remote_domid`.  `notify_fd`: an eventfd that does not block, still owned by the caller; a negative one is never
# written.
cdef int64_t event_connect(Domain *domain, uint32_t port, uint16_t remote_domid, int notify_fd) noexcept nogil
# Unless the guest closed it meanwhile: `notify_fd` says which channel is meant.  Nobody writes to it afterwards.
cdef void event_disconnect(Domain *domain, uint32_t port, int notify_fd) noexcept nogil
# Let a listener answer what the guest sends, instead of `notify_fd`, which says which channel is meant.  It is called
# on the thread of the vcpu that sent it, without any lock; it must not wait for the guest, nor for long.  After
# event_ignore it is not called any more, nor under way.
cdef bint event_listen(Domain *domain, uint32_t port, int notify_fd, Listener *listener) noexcept nogil
cdef void event_ignore(Domain *domain, uint32_t port, Listener *listener) noexcept nogil
