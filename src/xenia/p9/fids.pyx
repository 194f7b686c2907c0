"""The numbers by which a client names files.

A fid is a number that the client chose; it stands for a file that the server holds, perhaps opened.  What is held, is a
descriptor: whatever becomes of the names above, it is still that file, and nothing is looked up again by a path that
somebody could have changed.  Fids of one file that came by cloning share it.

Clients hold more files than a process may have descriptors: Linux keeps one for each name that it remembers.  So
those that nobody uses just now, and that were not opened, may be closed, and are found again by their name in the
folder where they were: if that is another file by then, the fid is as good as none.

Several threads work for one client.  A fid that is in use outlives its number; what it holds never changes but once,
from not open to open, and stays until the last user is gone.
"""

cimport cython
from libc.errno cimport EBADF, EMFILE, ENOMEM
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport strdup

from xenia.machine.lock cimport lock, unlock
from xenia.p9.linux cimport Statx, close, look_up, stat_descriptor

cdef enum:
    NR_BUCKETS = 1 << 14
    MOST_XATTRS = 64            # each may be as large as an attribute can be
    MOST_TRIES = 64             # nodes that are looked at to close one
    MOST_DEPTH = 256            # folders above that are closed, too


@cython.no_gc           # for what it stands on in the end
cdef class Fids:
    """Those of one client.

    most    at most so many, and of files and the folders above them together twice as many
    open    how many descriptors they take, besides those of opened files
    opened  how many of these there may be
    """

    def __cinit__(self, most: int, open: int, opened: int):
        self.most_opened = opened
        self.most_fids, self.most_nodes, self.most_open = most, 2 * most, open
        self.ends.newer = self.ends.older = &self.ends
        self.buckets = <Fid **>calloc(NR_BUCKETS, sizeof(Fid *))
        if self.buckets == NULL:
            raise MemoryError
        self.locks = LockTable()

    def __dealloc__(self):
        if self.buckets != NULL:
            with nogil:
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
            fid.first.pins += 1
            fid.first.used = True
        unlock(&self.lock)
        return fid

    cdef void give(self, Fid *fid) noexcept nogil:
        cdef int left
        lock(&self.lock)
        fid.refs -= 1
        left = fid.refs
        fid.first.pins -= 1 + (left == 0 and fid.fd >= 0)
        self.nr_opened -= left == 0 and fid.fd >= 0
        if left == 0 and fid.xattr != NULL:
            self.nr_xattrs -= 1
        unlock(&self.lock)
        if left == 0:
            if fid.locks:
                self.locks.forget(fid.device, fid.inode, fid)
            if fid.fd >= 0:
                close(fid.fd)
            if fid.xattr != NULL:
                free_xattr(fid.xattr)
            if fid.node != fid.first:
                self.drop(fid.node)
            self.unref(fid.first)
            free(fid)

    cdef int add(self, uint32_t number, Node *node, Xattr *xattr=NULL) noexcept nogil:
        cdef Fid *fid = <Fid *>calloc(1, sizeof(Fid))
        cdef Fid **at = &self.buckets[number % NR_BUCKETS]
        cdef Fid *other
        cdef int refused = 0
        if fid == NULL:
            return ENOMEM
        fid.number, fid.refs, fid.fd, fid.node, fid.first, fid.xattr = number, 1, -1, node, node, xattr
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
            fid.first.pins += 1
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
                    fid.first.pins += 1
                unlock(&self.lock)
                if fid == NULL:
                    break
                self.give(fid)

    cdef int opened(self, Fid *fid, int fd, Node *node) noexcept nogil:
        cdef int refused = 0
        lock(&self.lock)
        if fid.fd >= 0:
            refused = EBADF
        elif self.nr_opened >= self.most_opened:
            refused = EMFILE
        else:
            self.nr_opened += 1
            if node != NULL:
                fid.node = node
            fid.first.pins += 1     # for good: its name may go
            fid.fd = fd
        unlock(&self.lock)
        if refused:
            close(fd)
            if node != NULL:
                self.drop(node)
        return refused

    cdef bint locking(self, Fid *fid, uint64_t device, uint64_t inode) noexcept nogil:
        cdef bint can
        lock(&self.lock)
        can = not fid.locks or (fid.device == device and fid.inode == inode)
        if can:
            fid.locks, fid.device, fid.inode = True, device, inode
        unlock(&self.lock)
        return can

    cdef Node *hold(self, Node *node) noexcept nogil:
        lock(&self.lock)
        node.refs += 1
        node.pins += 1
        unlock(&self.lock)
        return node

    cdef void drop(self, Node *node) noexcept nogil:
        lock(&self.lock)
        node.pins -= 1
        unlock(&self.lock)
        self.unref(node)

    cdef void unref(self, Node *node) noexcept nogil:
        # A reference goes, and with the last one the node, and its reference to its parent.
        cdef Node *parent
        cdef bint is_last = True
        while node != NULL and is_last:
            lock(&self.lock)
            node.refs -= 1
            is_last = node.refs == 0
            if is_last:
                self.nr_nodes -= node.parent != NULL
                if node.newer != NULL:
                    self.delist(node)
            unlock(&self.lock)
            if is_last:
                parent = node.parent
                if node.fd >= 0:
                    close(node.fd)
                free(node.name)
                free(node)
                node = parent

    # --- Making room

    cdef int found(self, Node *node, Node *parent, const char *name, Statx *statx) noexcept nogil:
        cdef bint fits
        node.name = strdup(name)
        if node.name == NULL:
            return ENOMEM
        node.inode = statx.stx_ino
        node.device = <uint64_t>statx.stx_dev_major << 32 | statx.stx_dev_minor
        lock(&self.lock)
        fits = self.nr_nodes < self.most_nodes
        if fits:
            self.nr_nodes += 1
            parent.refs += 1
            node.parent = parent
            self.enlist(node)
            self.make_room()
        unlock(&self.lock)
        return 0 if fits else EMFILE

    cdef void reach(self, Node *node, int depth) noexcept nogil:
        """Find a closed node's file again, and those above that are closed.  A file system may take its time for it:
        meanwhile others find, open and close nodes.  Precondition: it is relied on."""
        cdef Node *parent = node.parent
        cdef bint is_away
        cdef int fd
        if parent == NULL or depth == MOST_DEPTH:
            return
        lock(&self.lock)
        parent.pins += 1
        is_away = parent.fd < 0
        unlock(&self.lock)
        if is_away:
            self.reach(parent, depth + 1)
        fd = find(node)
        lock(&self.lock)
        parent.pins -= 1
        if fd >= 0 and node.fd < 0:
            node.fd, fd = fd, -1
            self.enlist(node)
            self.make_room()
        unlock(&self.lock)
        if fd >= 0:             # another was faster
            close(fd)

    cdef void make_room(self) noexcept nogil:
        # The oldest that was not used since it was last looked at.
        cdef Node *node
        cdef int tries = 0
        while self.nr_open > self.most_open and tries < MOST_TRIES:
            tries += 1
            node = self.ends.newer
            self.delist(node)
            if node.pins or node.used:
                node.used = False
                self.enlist(node)
            else:
                close(node.fd)
                node.fd = -1

    cdef void enlist(self, Node *node) noexcept nogil:
        # As the newest.  The list begins with the oldest: `ends.newer`.
        node.older, node.newer = self.ends.older, &self.ends
        node.older.newer = node
        self.ends.older = node
        self.nr_open += 1

    cdef void delist(self, Node *node) noexcept nogil:
        node.older.newer, node.newer.older = node.newer, node.older
        node.newer = node.older = NULL
        self.nr_open -= 1


cdef int find(Node *node) noexcept nogil:
    """A descriptor of what the node was found as, if it is that still; else -1."""
    cdef Statx statx
    cdef int fd = look_up(node.parent.fd, node.name, False)
    if fd < 0:
        return -1
    if stat_descriptor(fd, &statx) < 0 or statx.stx_ino != node.inode or \
            (<uint64_t>statx.stx_dev_major << 32 | statx.stx_dev_minor) != node.device:
        close(fd)
        return -1
    return fd


cdef Node *node_of(int fd, uint32_t type) noexcept nogil:
    cdef Node *node = <Node *>calloc(1, sizeof(Node))
    if node == NULL:
        close(fd)
        return NULL
    node.refs, node.pins, node.fd, node.type = 1, 1, fd, type
    return node


cdef void free_xattr(Xattr *xattr) noexcept nogil:
    free(xattr.value)
    free(xattr)
