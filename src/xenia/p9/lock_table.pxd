# What processes of a client have locked, and the host's locks for it.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from xenia.machine.lock cimport Lock

cdef enum:
    END_OF_FILE = 0x7FFFFFFFFFFFFFFF    # a range's end that stands for whatever the file's may come to be

cdef struct Held:               # a range that a process has locked, by an open file
    Held *next
    const void *fid             # which that is: nothing else of it is looked at
    uint32_t process
    uint8_t kind
    bint by_flock               # of one that is given up: it was taken so, by whoever has the fid
    uint64_t start, end         # both in it

cdef struct Locked:             # a file with any
    Locked *next
    uint64_t device, inode
    int fd                      # the host's locks are this descriptor's
    int users                   # who is about to do something with it
    Lock lock                   # of what is held; the host may take its time meanwhile
    Held *held

cdef class LockTable:
    cdef Lock lock              # of which files there are
    cdef Locked *files
    cdef uint32_t nr_held
    # 0 or an errno; EAGAIN: somebody on the host has it locked.  The descriptor is the table's own from then on.
    cdef int take(self, uint64_t device, uint64_t inode, int fd, Held *wanted) noexcept nogil
    cdef int release(self, uint64_t device, uint64_t inode, Held *range_) noexcept nogil
    # The fid is not there any more, and what was locked by it.
    cdef void forget(self, uint64_t device, uint64_t inode, const void *fid) noexcept nogil
    # Who on the host has the range locked, or a part of it: that takes its place; kind LOCK_UNLOCK: nobody.  The
    # descriptor stays the caller's.
    cdef void look(self, uint64_t device, uint64_t inode, int fd, Held *range_) noexcept nogil

    # The file, to be left again; NULL: it is not there, and not made of that descriptor, which becomes -1 where it is.
    cdef Locked *enter(self, uint64_t device, uint64_t inode, int *fd) noexcept nogil
    cdef void leave(self, Locked *file) noexcept nogil
    cdef bint is_cut(self, Locked *file, Held *range_) noexcept nogil
    cdef Held *carve(self, Locked *file, Held *range_, Held *spare) noexcept nogil

cdef bint is_whole(Held *range_) noexcept nogil
