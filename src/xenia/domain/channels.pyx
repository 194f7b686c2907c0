"""A domain's event channels as storage: 64 at a time, as Xen allocates them, so that a domain pays for those it uses.

A bucket stays where it is, and as long as the domain's state: others hold pointers to its channels and post to its
mailbox.
"""
from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free
from xenia.domain.event_state cimport EventBucket
from xenia.machine.atomic cimport count_store


cdef bint channels_grow(Domain *domain) noexcept nogil:
    cdef EventBucket *bucket = <EventBucket *>calloc(1, sizeof(EventBucket))
    cdef uint32_t i
    if bucket == NULL:
        return False
    for i in range(64):
        bucket.channels[i].notify_fd = -1
    domain.events.buckets[domain.events.valid_ports >> 6] = bucket
    count_store(&domain.events.valid_ports, domain.events.valid_ports + 64)
    return True


cdef void channels_free(Domain *domain) noexcept nogil:
    cdef uint32_t i
    for i in range(domain.events.valid_ports >> 6):
        free(domain.events.buckets[i])
