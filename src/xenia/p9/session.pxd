# One client's session: what all its requests share.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from xenia.machine.lock cimport Condition, Lock
from xenia.p9.fids cimport Fid, Fids, Node
from xenia.p9.linux cimport Statx
from xenia.p9.lock_table cimport LockTable
from xenia.p9.request cimport Request

cdef enum:
    MOST_DEVICES = 255
    MOST_WORKERS = 32
    MOST_FLUSHES = 64
    FREE = -1
    BEING_SENT = -2

cdef struct Lead:               # of a stream: who alone takes requests from it
    Lock lock
    Condition free
    bint taken

cdef struct Worker:             # a thread of the session's
    Lead *leads                 # its stream's, until `promote`
    bint at_work
    uint16_t tag

cdef struct Flush:              # a Tflush that waits for the answer to another request
    int worker                  # whose that is, or FREE, or BEING_SENT
    uint16_t tag
    int socket                  # where it came from
    Lock *sending

cdef class Session:
    cdef Fids fids
    cdef LockTable locks
    cdef Node *root
    cdef readonly bint read_only
    cdef bint is_remote         # the folder is on a file system that may take long for anything
    cdef bytes hidden_names     # each with a NUL, and one more
    cdef const char *hidden
    cdef volatile uint32_t msize        # 0: not begun yet
    cdef uint32_t user, group   # whose the server's process is
    cdef int descriptors        # /proc/self/fd
    cdef Lock lock              # of what follows
    cdef uint64_t devices[MOST_DEVICES]
    cdef int nr_devices
    cdef Worker workers[MOST_WORKERS]
    cdef int nr_workers
    cdef Flush flushes[MOST_FLUSHES]
    cdef Condition sent         # of those that were BEING_SENT

    # As of Fids, with its file found again if it was closed.
    cdef Fid *take(self, Request *request, uint32_t number) noexcept nogil
    cdef void reach(self, Request *request, Fid *fid) noexcept nogil
    cdef bint hides(self, Node *folder, const char *name) noexcept nogil
    # What is hidden, seen at another place of the folder: files of processes or devices.
    cdef bint is_of_kernel(self, int fd) noexcept nogil
    # Nothing is sent any more to who asked by the connection with this lock.
    cdef void forget(self, Lock *sending) noexcept nogil
    cdef int stat(self, int fd, Statx *found) noexcept nogil
    # The node of a descriptor, which is closed where there is none.  0 or an errno.
    cdef int node(self, int fd, Statx *found, Node **made) noexcept nogil
    cdef void put_qid(self, Request *request, Statx *found) noexcept nogil
    cdef uint64_t qid_path(self, uint64_t device, uint64_t inode) noexcept nogil
    # The file opened once more by what holds it; only a regular one or a folder, whatever stands there by name.
    cdef int reopen(self, Node *node, int flags) noexcept nogil       # -errno
    # What follows may take long: another thread is to take the client's requests meanwhile.
    cdef void promote(self, Request *request) noexcept nogil

# Another thread takes the stream's requests from now on; `all`: none needs to.
cdef void give_up(Lead *lead, bint all) noexcept nogil
