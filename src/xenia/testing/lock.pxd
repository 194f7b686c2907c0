from libc.stdint cimport uint64_t
from xenia.machine.lock cimport Lock


# Somebody who wants a lock of `owner`'s.
cdef class Asker:
    cdef object owner
    cdef Lock *lock
    cdef volatile bint asking
    cdef volatile bint begun
    cdef uint64_t longest


cdef Asker asker(object owner, Lock *asked)
