"""What processes of a client have locked, and the host's locks for it.

The client's kernel keeps its own processes apart before it asks.  To the host they are one: of each file that any of
them has locked, a descriptor of ours holds what they have together, as locks of an open file (fcntl(2), F_OFD_SETLK),
which whoever locks ranges on the host meets.  Who reads may not be alone: what one process gives up stays locked as far
as others have it.  The client says the same for flock(2) as for a range that is the whole file; that is taken in both
ways, for the host knows nothing of the one from the other.

So it is not known either of a whole file that is given up whether by all of a process (fcntl) or by an open file
(flock).  It is taken to be the open file's alone: what one locked by fcntl stays locked for the host until the file is
given up, or closed, by which it was locked; the other way the host would get what a process in the guest still has.

Each file has a lock of its own, held while the host is asked: one whose file system takes its time holds up who asks
for that file, and nobody else.
"""

from libc.errno cimport EAGAIN, EBADF, EINTR, ENOLCK
from libc.stdlib cimport calloc, free, malloc

from xenia.machine.lock cimport lock, unlock
from xenia.p9.linux cimport close, linux_errno
from xenia.p9.message cimport LOCK_READ, LOCK_UNLOCK, LOCK_WRITE

cdef extern from *:
    """
    #include <fcntl.h>
    #include <string.h>
    #include <sys/file.h>

    static struct flock range_of(short kind, uint64_t start, uint64_t end)
    {
        struct flock range;
        memset(&range, 0, sizeof range);
        range.l_type = kind;
        range.l_whence = SEEK_SET;
        range.l_start = (off_t)start;
        range.l_len = end == INT64_MAX ? 0 : (off_t)(end - start + 1);
        return range;
    }

    static int lock_range(int fd, short kind, uint64_t start, uint64_t end)
    {
        struct flock range = range_of(kind, start, end);
        return fcntl(fd, F_OFD_SETLK, &range);
    }

    static int look_at_range(int fd, short *kind, uint64_t *start, uint64_t *end, uint32_t *process)
    {
        struct flock range = range_of(*kind, *start, *end);
        if (fcntl(fd, F_OFD_GETLK, &range) < 0)
            return -1;
        *kind = range.l_type;
        *start = (uint64_t)range.l_start;
        *end = range.l_len ? (uint64_t)range.l_start + (uint64_t)range.l_len - 1 : INT64_MAX;
        *process = (uint32_t)range.l_pid;
        return 0;
    }
    """
    enum:
        F_RDLCK, F_WRLCK, F_UNLCK, LOCK_SH, LOCK_EX, LOCK_UN, LOCK_NB
    int lock_range(int fd, short kind, uint64_t start, uint64_t end) nogil
    int look_at_range(int fd, short *kind, uint64_t *start, uint64_t *end, uint32_t *process) nogil
    int flock(int fd, int operation) nogil
    uint32_t __sync_fetch_and_add(uint32_t *value, int more) nogil

cdef enum:
    MOST_HELD = 8192            # what is done for one request goes with its square


cdef class LockTable:
    """Those of a session."""

    def __dealloc__(self):
        cdef Locked *file
        cdef Held *gone
        while self.files != NULL:
            file = self.files
            self.files = file.next
            while file.held != NULL:
                gone = file.held
                file.held = gone.next
                free(gone)
            close(file.fd)
            free(file)

    cdef int take(self, uint64_t device, uint64_t inode, int fd, Held *wanted) noexcept nogil:
        cdef Held *entry = <Held *>malloc(sizeof(Held))
        cdef Held *spare = <Held *>malloc(sizeof(Held))     # a range may be cut in two
        cdef Locked *file = self.enter(device, inode, &fd)
        cdef int refused = ENOLCK
        if file != NULL:
            lock(&file.lock)
            if entry != NULL and spare != NULL and self.nr_held < MOST_HELD:
                refused = take_of_host(file, wanted)
            if refused == 0:
                spare = self.carve(file, wanted, spare)
                entry[0] = wanted[0]
                entry.next = file.held
                file.held, entry = entry, NULL
                __sync_fetch_and_add(&self.nr_held, 1)
            unlock(&file.lock)
            self.leave(file)
        free(entry)
        free(spare)
        if fd >= 0:
            close(fd)
        return refused

    cdef int release(self, uint64_t device, uint64_t inode, Held *range_) noexcept nogil:
        cdef Held *spare = <Held *>malloc(sizeof(Held))
        cdef int none = -1, refused = 0
        cdef Locked *file = self.enter(device, inode, &none)
        if file != NULL:
            lock(&file.lock)
            if (spare == NULL or self.nr_held >= MOST_HELD) and self.is_cut(file, range_):
                refused = ENOLCK
            else:
                spare = self.carve(file, range_, spare)
                give_to_host(file, range_.start, range_.end)
            unlock(&file.lock)
            self.leave(file)
        free(spare)
        return refused

    cdef void forget(self, uint64_t device, uint64_t inode, const void *fid) noexcept nogil:
        cdef int none = -1
        cdef Locked *file = self.enter(device, inode, &none)
        cdef Held **at
        cdef Held *gone
        if file == NULL:
            return
        lock(&file.lock)
        at = &file.held
        while at[0] != NULL:
            gone = at[0]
            if gone.fid == fid:
                at[0] = gone.next
                __sync_fetch_and_add(&self.nr_held, -1)
                give_to_host(file, gone.start, gone.end)
                free(gone)
            else:
                at = &gone.next
        unlock(&file.lock)
        self.leave(file)

    cdef void look(self, uint64_t device, uint64_t inode, int fd, Held *range_) noexcept nogil:
        cdef short kind = F_WRLCK if range_.kind == LOCK_WRITE else F_RDLCK
        cdef int none = -1
        cdef Locked *file = self.enter(device, inode, &none)
        # By our own descriptor, to which what the client has is no obstacle.
        if look_at_range(file.fd if file != NULL else fd, &kind, &range_.start, &range_.end, &range_.process) < 0:
            kind = F_UNLCK
        if file != NULL:
            self.leave(file)
        range_.kind = LOCK_UNLOCK if kind == F_UNLCK else LOCK_WRITE if kind == F_WRLCK else LOCK_READ

    cdef Locked *enter(self, uint64_t device, uint64_t inode, int *fd) noexcept nogil:
        cdef Locked *file
        lock(&self.lock)
        file = self.files
        while file != NULL and (file.device != device or file.inode != inode):
            file = file.next
        if file == NULL and fd[0] >= 0:
            file = <Locked *>calloc(1, sizeof(Locked))
            if file != NULL:
                file.device, file.inode, file.fd, file.next = device, inode, fd[0], self.files
                self.files, fd[0] = file, -1
        if file != NULL:
            file.users += 1
        unlock(&self.lock)
        return file

    cdef void leave(self, Locked *file) noexcept nogil:
        # One that nothing is locked of is not kept; what the host has of it goes with the descriptor.
        cdef Locked **at = &self.files
        cdef bint is_done
        lock(&self.lock)
        file.users -= 1
        is_done = file.users == 0 and file.held == NULL
        if is_done:
            while at[0] != file:
                at = &at[0].next
            at[0] = file.next
        unlock(&self.lock)
        if is_done:
            close(file.fd)
            free(file)

    cdef bint is_cut(self, Locked *file, Held *range_) noexcept nogil:
        # Whether one becomes two.
        cdef Held *one = file.held
        while one != NULL and not (is_of(one, range_) and one.start < range_.start and one.end > range_.end):
            one = one.next
        return one != NULL

    cdef Held *carve(self, Locked *file, Held *range_, Held *spare) noexcept nogil:
        # What this process has of the range it has no more.  The spare entry, where it was not needed.
        cdef Held **at = &file.held
        cdef Held *one
        while at[0] != NULL:
            one = at[0]
            if not is_of(one, range_) or one.end < range_.start or one.start > range_.end:
                at = &one.next
            elif one.start < range_.start and one.end > range_.end:
                spare[0] = one[0]
                spare.start = range_.end + 1
                one.next = spare
                __sync_fetch_and_add(&self.nr_held, 1)
                one.end = range_.start - 1
                return NULL
            elif one.start < range_.start:
                one.end = range_.start - 1
                at = &one.next
            elif one.end > range_.end:
                one.start = range_.end + 1
                at = &one.next
            else:
                at[0] = one.next
                __sync_fetch_and_add(&self.nr_held, -1)
                free(one)
        return spare


cdef bint is_of(Held *one, Held *range_) noexcept nogil:
    # Whether what is said of the range concerns that one.  A whole file may be locked by flock, which each open file
    # has for itself, and all that the client says of one by another is that two processes, or two open files, may not
    # have it at once unless both only read: where they would, who had it has given it up.
    cdef bint same_process = one.process == range_.process, same_fid = one.fid == range_.fid
    if not (is_whole(one) and is_whole(range_)):
        return same_process
    if range_.kind == LOCK_UNLOCK:
        return same_fid and (same_process or range_.by_flock)
    if one.kind == LOCK_READ and range_.kind == LOCK_READ:
        return same_fid and same_process
    return same_fid or same_process


cdef bint is_whole(Held *range_) noexcept nogil:
    return range_.start == 0 and range_.end == END_OF_FILE


cdef int take_of_host(Locked *file, Held *wanted) noexcept nogil:
    cdef short kind = F_WRLCK if wanted.kind == LOCK_WRITE else F_RDLCK
    cdef int refused = tried(lock_range(file.fd, kind, wanted.start, wanted.end))
    if refused == EBADF and kind == F_WRLCK:    # to be read only: flock alone keeps others from it
        refused = tried(lock_range(file.fd, F_RDLCK, wanted.start, wanted.end))
    if refused == 0 and is_whole(wanted):
        refused = tried(flock(file.fd, (LOCK_EX if kind == F_WRLCK else LOCK_SH) | LOCK_NB))
        if refused:
            give_to_host(file, wanted.start, wanted.end)
    return refused


cdef int tried(int result) noexcept nogil:
    cdef int refused = linux_errno() if result < 0 else 0
    return EAGAIN if refused == EINTR else refused


cdef void give_to_host(Locked *file, uint64_t start, uint64_t end) noexcept nogil:
    # What nobody has any more of a range.
    cdef uint64_t at = start, until
    cdef bint has_whole = False
    cdef Held *one = file.held
    while one != NULL:
        has_whole = has_whole or is_whole(one)
        one = one.next
    if not has_whole:
        flock(file.fd, LOCK_UN)
    while at <= end:
        until, one = end, file.held
        while one != NULL:
            if one.start <= at <= one.end:
                break
            if at < one.start <= until:
                until = one.start - 1
            one = one.next
        if one != NULL:
            at = one.end + 1
            continue
        lock_range(file.fd, F_UNLCK, at, until)
        at = until + 1
