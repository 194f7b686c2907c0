# What processes of a client have locked, and the host's locks for it.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from xenia.machine.lock cimport Lock

cdef enum:
    END_OF_FILE = 0x7FFFFFFFFFFFFFFF    # a range's end that stands for whatever the file's may come to be

cdef struct Held:               # a range that a process has locked, by a fid
    Held *next
    uint32_t process, fid
    uint8_t kind
    bint by_flock               # of one that is given up: it was taken so, by whoever has the fid
    uint64_t start, end         # both in it

cdef struct Locked:             # a file with any
    Locked *next
    uint64_t device, inode
    int fd                      # the host's locks are this descriptor's
    Held *held

cdef class LockTable:
    cdef Lock lock
    cdef Locked *files
    cdef uint32_t nr_held
    # 0 or an errno; EAGAIN: somebody on the host has it locked.  The descriptor is the table's own from then on.
    cdef int take(self, uint64_t device, uint64_t inode, int fd, Held *wanted) noexcept nogil
    cdef int release(self, uint64_t device, uint64_t inode, Held *range_) noexcept nogil
    # The fid is not there any more, and what was locked by it; or all is.
    cdef void forget(self, uint32_t fid) noexcept nogil
    cdef void forget_all(self) noexcept nogil
    # Who on the host has the range locked, or a part of it: that takes its place; kind LOCK_UNLOCK: nobody.  The
    # descriptor stays the caller's.
    cdef void look(self, uint64_t device, uint64_t inode, int fd, Held *range_) noexcept nogil

    cdef Locked *found(self, uint64_t device, uint64_t inode) noexcept nogil
    cdef Locked *made(self, uint64_t device, uint64_t inode, int fd) noexcept nogil
    cdef void done_with(self, Locked *file) noexcept nogil
    cdef bint is_cut(self, Locked *file, Held *range_) noexcept nogil
    cdef Held *carve(self, Locked *file, Held *range_, Held *spare) noexcept nogil

cdef bint is_whole(Held *range_) noexcept nogil
