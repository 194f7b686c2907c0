"""A session: one client, with all it holds, at however many streams.

Ids.  The files of the user whose process this is are root's to the client, and what the client makes is that user's.
Files of others keep their numbers; the kernel refuses what it would refuse the user.
"""

import os
from collections.abc import Sequence

from libc.errno cimport EACCES, ELOOP, ENOMEM
from libc.string cimport strcmp, strlen

from xenia.machine.lock cimport condition_signal_and_unlock, condition_wait, lock, unlock
from xenia.p9.fids cimport node_of
from xenia.p9.linux cimport (
    O_CLOEXEC, O_NOCTTY, O_NONBLOCK, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, Statfs, close, failure, fstatfs,
    name_descriptor, openat, stat_descriptor)
from xenia.p9.message cimport QID_DIRECTORY, QID_SYMLINK
from xenia.p9.request cimport put8, put32, put64

cdef enum:
    # linux/magic.h and the file systems' own headers
    NFS = 0x6969
    FUSE = 0x65735546
    CIFS = 0xFF534D42
    SMB2 = 0xFE534D42
    CEPH = 0x00C36400
    P9 = 0x01021997
    AFS = 0x5346414F
    PROC = 0x9FA0
    SYSFS = 0x62656572
    INODE_BITS = 56
    LEAST_OPENED = 1000


cdef class Session:
    """What a client sees, and what it has.

    folder      an open descriptor of it, which stays the caller's
    read_only   refuse all that would change anything
    fids        how many files the client may hold at once
    descriptors how many of them are held open, besides those that it opened, which are at most half as many; but 1000
                at the least
    hidden      names that the folder itself does not have for the client
    """

    def __init__(
        self, folder: int, read_only: bool, fids: int, descriptors: int, hidden: Sequence[str] = ()
    ) -> None:
        cdef Statfs system
        self.hidden_names = b"".join(os.fsencode(name) + b"\0" for name in hidden) + b"\0"
        self.hidden = self.hidden_names
        self.read_only = read_only
        self.user, self.group = os.geteuid(), os.getegid()
        self.descriptors = os.open("/proc/self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.fids = Fids(fids, descriptors, max(descriptors // 2, LEAST_OPENED))
        self.locks = self.fids.locks
        self.root = node_of(os.dup(folder), S_IFDIR)
        if self.root == NULL:
            raise MemoryError
        if fstatfs(self.root.fd, &system) == 0:
            self.is_remote = system.f_type in (NFS, FUSE, CIFS, SMB2, CEPH, P9, AFS)
        for index in range(MOST_FLUSHES):
            self.flushes[index].worker = FREE

    def __dealloc__(self):
        if self.root != NULL:
            with nogil:
                self.fids.drop(self.root)
        if self.descriptors > 0:
            close(self.descriptors)

    @property
    def held(self) -> int:
        """How many files the client holds."""
        return len(self.fids)

    cdef Fid *take(self, Request *request, uint32_t number) noexcept nogil:
        cdef Fid *fid = self.fids.take(number)
        if fid != NULL:
            self.reach(request, fid)
        return fid

    cdef void reach(self, Request *request, Fid *fid) noexcept nogil:
        if fid.first.fd < 0:
            self.promote(request)
            self.fids.reach(fid.first, 0)

    cdef bint hides(self, Node *folder, const char *name) noexcept nogil:
        cdef const char *hidden = self.hidden
        while folder == self.root and hidden[0]:
            if strcmp(hidden, name) == 0:
                return True
            hidden += strlen(hidden) + 1
        return False

    cdef bint is_of_kernel(self, int fd) noexcept nogil:
        cdef Statfs system
        return self.hidden[0] != 0 and fstatfs(fd, &system) == 0 and system.f_type in (PROC, SYSFS)

    cdef void forget(self, Lock *sending) noexcept nogil:
        cdef Flush *flush
        cdef int index
        lock(&self.lock)
        for index in range(MOST_FLUSHES):
            flush = &self.flushes[index]
            while flush.sending == sending and flush.worker == BEING_SENT:
                condition_wait(&self.sent, &self.lock)
            if flush.sending == sending:
                flush.worker = FREE
        unlock(&self.lock)

    cdef int stat(self, int fd, Statx *found) noexcept nogil:
        return failure() if stat_descriptor(fd, found) < 0 else 0

    cdef int node(self, int fd, Statx *found, Node **made) noexcept nogil:
        cdef int refused = self.stat(fd, found)
        if refused:
            close(fd)
            return refused
        made[0] = node_of(fd, found.stx_mode & S_IFMT)
        return ENOMEM if made[0] == NULL else 0

    cdef void put_qid(self, Request *request, Statx *found) noexcept nogil:
        cdef uint32_t kind = found.stx_mode & S_IFMT
        cdef uint64_t device = <uint64_t>found.stx_dev_major << 32 | found.stx_dev_minor
        put8(request, QID_DIRECTORY if kind == S_IFDIR else QID_SYMLINK if kind == S_IFLNK else 0)
        # Changes whenever the file does.
        put32(request, <uint32_t>(found.stx_ctime.tv_sec << 12) ^ found.stx_ctime.tv_nsec >> 8)
        put64(request, self.qid_path(device, found.stx_ino))

    cdef uint64_t qid_path(self, uint64_t device, uint64_t inode) noexcept nogil:
        # What is mounted below the folder has inodes of the same numbers.
        cdef int index = 0
        while index < self.nr_devices and self.devices[index] != device:
            index += 1
        if index == self.nr_devices:
            lock(&self.lock)
            index = 0
            while index < self.nr_devices and self.devices[index] != device:
                index += 1
            if index == self.nr_devices and index < MOST_DEVICES - 1:
                self.devices[index] = device
                self.nr_devices += 1
            unlock(&self.lock)
        return inode ^ <uint64_t>index << INODE_BITS

    cdef int reopen(self, Node *node, int flags) noexcept nogil:
        cdef char name[16]
        cdef int fd
        if node.type != S_IFREG and node.type != S_IFDIR:
            return -ELOOP if node.type == S_IFLNK else -EACCES
        name_descriptor(name, node.fd)
        fd = openat(self.descriptors, name, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
        return fd if fd >= 0 else -failure()

    cdef void promote(self, Request *request) noexcept nogil:
        cdef Worker *worker = <Worker *>request.worker
        if worker.leads != NULL:
            give_up(worker.leads, False)
            worker.leads = NULL


cdef void give_up(Lead *lead, bint all) noexcept nogil:
    lock(&lead.lock)
    lead.taken = False
    condition_signal_and_unlock(&lead.free, all, &lead.lock)
