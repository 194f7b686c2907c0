"""Which domains there are, and how long their state lives.

A domain's state outlives the domain as long as others hold frames that it granted: they have to give them back to somebody.
"""

from libc.stdint cimport int32_t, uint16_t
from libc.stdlib cimport free

from xenia.domain.channels cimport channels_free
from xenia.domain.domain cimport NR_DOMIDS
from xenia.machine.atomic cimport count_add
from xenia.machine.lock cimport lock, unlock

cdef bint directory_add(Directory *directory, Domain *domain) noexcept nogil:
    cdef bint free_number
    if domain.domid >= NR_DOMIDS:
        return False
    lock(&directory.lock)
    free_number = directory.domains[domain.domid] == NULL
    if free_number:
        directory.domains[domain.domid] = domain
        domain.directory = directory
    unlock(&directory.lock)
    return free_number


cdef void directory_remove(Domain *domain) noexcept nogil:
    cdef Directory *directory = domain.directory
    if directory != NULL:
        lock(&directory.lock)
        directory.domains[domain.domid] = NULL
        unlock(&directory.lock)


cdef Domain *domain_enter(Directory *directory, uint16_t domid) noexcept nogil:
    cdef Domain *domain = NULL
    if directory != NULL and domid < NR_DOMIDS:
        lock(&directory.lock)
        domain = directory.domains[domid]
        if domain != NULL:
            domain_use(domain)
        unlock(&directory.lock)
    return domain


cdef void domain_use(Domain *domain) noexcept nogil:
    count_add(&domain.users, 1)


cdef void domain_leave(Domain *domain) noexcept nogil:
    cdef int i
    if count_add(&domain.users, -1) == 0:
        for i in range(64):
            free(domain.grant_records[i])
        free(domain.grant_maps)
        channels_free(domain)
        free(domain)
