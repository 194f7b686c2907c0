"""Which domains there are, and how long their state lives.

A domain's state outlives the domain as long as others hold frames that it granted: they have to give them back to
somebody.
"""

from libc.stdint cimport uint16_t
from libc.stdlib cimport calloc, free

from xenia.domain.channels cimport channels_free
from xenia.domain.domain cimport NR_DOMIDS
from xenia.machine.atomic cimport count_add
from xenia.machine.lock cimport RANK_DIRECTORY, lock, lock_init, unlock


cdef Directory *directory_create() noexcept nogil:
    cdef Directory *directory = <Directory *>calloc(1, sizeof(Directory))
    if directory != NULL:
        lock_init(&directory.lock, RANK_DIRECTORY)
    return directory


cdef int directory_reserve(Directory *directory, int first) noexcept nogil:
    cdef int domid = first, found = -1, _
    lock(&directory.lock)
    for _ in range(1, NR_DOMIDS):
        if domid >= NR_DOMIDS or domid < 1:
            domid = 1
        if not directory.taken[domid]:
            directory.taken[domid] = 1
            found = domid
            break
        domid += 1
    unlock(&directory.lock)
    return found


cdef void directory_release(Directory *directory, int domid) noexcept nogil:
    directory.taken[domid] = 0


cdef bint directory_add(Directory *directory, Domain *domain) noexcept nogil:
    cdef bint free_number
    if domain.domid >= NR_DOMIDS:
        return False
    lock(&directory.lock)
    free_number = directory.domains[domain.domid] == NULL
    if free_number:
        directory.domains[domain.domid] = domain
        directory.taken[domain.domid] = 1
        domain.directory = directory
    unlock(&directory.lock)
    return free_number


cdef void directory_remove(Domain *domain) noexcept nogil:
    cdef Directory *directory = domain.directory
    if directory != NULL:
        lock(&directory.lock)
        if directory.domains[domain.domid] == domain:
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
            free(domain.grants.records[i])
        free(domain.maptrack.maps)
        channels_free(domain)
        for i in range(<int>domain.nr_vcpus):
            free(domain.vcpus[i])
        if domain.directory != NULL:
            domain.directory.taken[domain.domid] = 0    # the last thing that anybody sees of it
        free(domain)
