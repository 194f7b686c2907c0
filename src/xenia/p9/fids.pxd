# What a client has names for.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from xenia.machine.lock cimport Lock
from xenia.p9.linux cimport Statx
from xenia.p9.lock_table cimport LockTable

cdef struct Node:               # a file of the folder, held by a descriptor that opens nothing (O_PATH)
    int refs
    int pins                    # of those, by who relies on the descriptor
    int fd                      # -1: closed to make room
    uint32_t type               # S_IFMT
    bint used                   # since it was last looked at who has to make room
    Node *parent                # where it was found, and by which name; NULL: it is not closed
    char *name
    uint64_t inode, device
    Node *newer                 # of those that may be closed
    Node *older

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
    Node *first                 # what it was of before a file was made by it (Tlcreate); else the same
    int fd                      # opened; -1: not
    Lock reading                # of a folder: who moves its position
    int64_t position
    Xattr *xattr
    bint locks                  # something of its file was locked by it, and that file is
    uint64_t device, inode

cdef class Fids:
    cdef LockTable locks        # what is locked by a fid goes with the last who uses it
    cdef Lock lock
    cdef Fid **buckets
    cdef uint32_t nr_fids, most_fids, nr_xattrs
    cdef uint32_t nr_nodes, most_nodes         # of those that were found by a name
    cdef Node ends              # newest and oldest of the nodes that may be closed
    cdef uint32_t nr_open, most_open
    cdef uint32_t nr_opened, most_opened       # by the client, for itself
    # In use until `give`; NULL: there is none.  Where its file was closed, `reach` finds that again, or does not: EBADF
    # is what is done with it then.
    cdef Fid *take(self, uint32_t number) noexcept nogil
    cdef void reach(self, Node *node, int depth) noexcept nogil
    cdef void give(self, Fid *fid) noexcept nogil
    # Each is 0 or an errno.  `add` takes a reference of its own to the node.
    cdef int add(self, uint32_t number, Node *node, Xattr *xattr=?) noexcept nogil
    cdef int remove(self, uint32_t number) noexcept nogil
    cdef void remove_all(self) noexcept nogil
    # It is open from now on, and the descriptor its own: of another file where there is a node, whose reference it
    # takes.  EBADF where it was open, EMFILE where too many are.
    cdef int opened(self, Fid *fid, int fd, Node *node) noexcept nogil
    # That file is about to be locked by it.  Whether it can be: no other one is.
    cdef bint locking(self, Fid *fid, uint64_t device, uint64_t inode) noexcept nogil
    # A further reference to a node whose descriptor is relied on, and its end.
    cdef Node *hold(self, Node *node) noexcept nogil
    cdef void drop(self, Node *node) noexcept nogil
    # The node was found there by that name, where it is found again.  0 or an errno.
    cdef int found(self, Node *node, Node *parent, const char *name, Statx *statx) noexcept nogil
    cdef void make_room(self) noexcept nogil
    cdef void enlist(self, Node *node) noexcept nogil
    cdef void delist(self, Node *node) noexcept nogil
    cdef void unref(self, Node *node) noexcept nogil

# With one reference, relied on.  NULL: no memory; the descriptor is closed then.
cdef Node *node_of(int fd, uint32_t type) noexcept nogil
cdef void free_xattr(Xattr *xattr) noexcept nogil
