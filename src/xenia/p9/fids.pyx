"""The numbers by which a client names files.

A fid is a number that the client chose; it stands for a file that the server holds, perhaps opened.  What is held, is a
descriptor: whatever becomes of the names above, it is still that file, and nothing is looked up again by a path that
somebody could have changed.  Fids of one file that came by cloning share it.

Several threads work for one client.  A fid that is in use outlives its number; what it holds never changes but once,
from not open to open, and stays until the last user is gone.
"""

from libc.errno cimport EBADF, EMFILE, ENOMEM
from libc.stdlib cimport calloc, free

from xenia.machine.lock cimport lock, unlock
from xenia.p9.linux cimport close

cdef enum:
    NR_BUCKETS = 1 << 14
    MOST_XATTRS = 64            # each may be as large as an attribute can be


cdef class Fids:
    """Those of one client, at most so many."""

    def __cinit__(self, most: int):
        self.most_fids = most
        self.buckets = <Fid **>calloc(NR_BUCKETS, sizeof(Fid *))
        if self.buckets == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.buckets != NULL:
            self.remove_all()
            free(self.buckets)

    def __len__(self) -> int:
        return self.nr_fids

    cdef Fid *take(self, uint32_t number) noexcept nogil:
        cdef Fid *fid
        lock(&self.lock)
        fid = self.buckets[number % NR_BUCKETS]
        while fid != NULL and fid.number != number:
            fid = fid.next
        if fid != NULL:
            fid.refs += 1
        unlock(&self.lock)
        return fid

    cdef void give(self, Fid *fid) noexcept nogil:
        cdef int left
        lock(&self.lock)
        fid.refs -= 1
        left = fid.refs
        if left == 0 and fid.xattr != NULL:
            self.nr_xattrs -= 1
        unlock(&self.lock)
        if left == 0:
            if fid.fd >= 0:
                close(fid.fd)
            if fid.xattr != NULL:
                free_xattr(fid.xattr)
            self.drop(fid.node)
            if fid.folder != NULL:
                self.drop(fid.folder)
            free(fid)

    cdef int add(self, uint32_t number, Node *node, Xattr *xattr=NULL) noexcept nogil:
        cdef Fid *fid = <Fid *>calloc(1, sizeof(Fid))
        cdef Fid **at = &self.buckets[number % NR_BUCKETS]
        cdef Fid *other
        cdef int refused = 0
        if fid == NULL:
            return ENOMEM
        fid.number, fid.refs, fid.fd, fid.node, fid.xattr = number, 1, -1, node, xattr
        lock(&self.lock)
        other = at[0]
        while other != NULL and other.number != number:
            other = other.next
        if other != NULL:
            refused = EBADF
        elif self.nr_fids >= self.most_fids or (xattr != NULL and self.nr_xattrs >= MOST_XATTRS):
            refused = EMFILE
        else:
            node.refs += 1
            self.nr_fids += 1
            self.nr_xattrs += xattr != NULL
            fid.next = at[0]
            at[0] = fid
        unlock(&self.lock)
        if refused:
            free(fid)
        return refused

    cdef int remove(self, uint32_t number) noexcept nogil:
        cdef Fid **at
        cdef Fid *fid
        lock(&self.lock)
        at = &self.buckets[number % NR_BUCKETS]
        while at[0] != NULL and at[0].number != number:
            at = &at[0].next
        fid = at[0]
        if fid != NULL:
            at[0] = fid.next
            self.nr_fids -= 1
        unlock(&self.lock)
        if fid == NULL:
            return EBADF
        self.give(fid)
        return 0

    cdef void remove_all(self) noexcept nogil:
        cdef Fid *fid
        cdef uint32_t index
        for index in range(NR_BUCKETS):
            while True:
                lock(&self.lock)
                fid = self.buckets[index]
                if fid != NULL:
                    self.buckets[index] = fid.next
                    self.nr_fids -= 1
                unlock(&self.lock)
                if fid == NULL:
                    break
                self.give(fid)

    cdef int opened(self, Fid *fid, int fd, Node *node) noexcept nogil:
        cdef bint refused
        lock(&self.lock)
        refused = fid.fd >= 0
        if not refused:
            if node != NULL:
                fid.folder, fid.node = fid.node, node
            fid.fd = fd
        unlock(&self.lock)
        if refused:
            close(fd)
            if node != NULL:
                self.drop(node)
            return EBADF
        return 0

    cdef Node *hold(self, Node *node) noexcept nogil:
        lock(&self.lock)
        node.refs += 1
        unlock(&self.lock)
        return node

    cdef void drop(self, Node *node) noexcept nogil:
        cdef int left
        lock(&self.lock)
        node.refs -= 1
        left = node.refs
        unlock(&self.lock)
        if left == 0:
            close(node.fd)
            free(node)


cdef Node *node_of(int fd, uint32_t type) noexcept nogil:
    cdef Node *node = <Node *>calloc(1, sizeof(Node))
    if node == NULL:
        close(fd)
        return NULL
    node.refs, node.fd, node.type = 1, fd, type
    return node


cdef void free_xattr(Xattr *xattr) noexcept nogil:
    free(xattr.value)
    free(xattr)
