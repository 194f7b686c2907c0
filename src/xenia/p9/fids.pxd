# What a client has names for.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from xenia.machine.lock cimport Lock

cdef struct Node:               # a file of the folder, held by a descriptor that opens nothing (O_PATH)
    int refs
    int fd
    uint32_t type               # S_IFMT

cdef struct Xattr:              # an extended attribute's value, or the list of their names, as a fid
    char *value
    uint64_t size
    uint64_t written            # of one that is being set
    uint32_t flags
    bint sets
    char name[256]

cdef struct Fid:
    uint32_t number
    int refs
    Fid *next
    Node *node
    Node *folder                # where the file was made that it is of now (Tlcreate): what else it was of before
    int fd                      # opened; -1: not
    Lock reading                # of a folder: who moves its position
    int64_t position
    Xattr *xattr

cdef class Fids:
    cdef Lock lock
    cdef Fid **buckets
    cdef uint32_t nr_fids, most_fids, nr_xattrs
    # In use until `give`; NULL: there is none.
    cdef Fid *take(self, uint32_t number) noexcept nogil
    cdef void give(self, Fid *fid) noexcept nogil
    # Each is 0 or an errno.  `add` takes a reference of its own to the node.
    cdef int add(self, uint32_t number, Node *node, Xattr *xattr=?) noexcept nogil
    cdef int remove(self, uint32_t number) noexcept nogil
    cdef void remove_all(self) noexcept nogil
    # It is open from now on, and the descriptor its own: of another file where there is a node, whose reference it
    # takes.  EBADF where it was open.
    cdef int opened(self, Fid *fid, int fd, Node *node) noexcept nogil
    cdef Node *hold(self, Node *node) noexcept nogil
    cdef void drop(self, Node *node) noexcept nogil

cdef Node *node_of(int fd, uint32_t type) noexcept nogil        # NULL: no memory; the descriptor is closed then
cdef void free_xattr(Xattr *xattr) noexcept nogil
