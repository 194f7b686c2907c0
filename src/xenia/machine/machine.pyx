"""Machine memory and the frame table.

Machine memory is a memfd, mapped once, so that other processes can map frames of it; it is sparse, so that memory that
no guest has touched costs nothing.  Its lowest frames are Xen's own: the machine-to-physical table (M2P) that every
guest reads, and the page tables that show it, read-only, in slot 256 of every L4.

Around the mapping lies address space in which nothing is, and nothing will be: a frame number that got past every check
that is made of it is a fault of this process, and not a way to what else it has.

The frame table is a packed array beside it, one `Frame` for each machine frame, never mapped by a guest.  What the
counts and types mean is mm/'s business; here a frame is free (no references) or belongs to an owner.
"""

import os
import random
import resource
from array import array

from cpython.buffer cimport PyBuffer_FillInfo
from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libc.string cimport memset
from posix.unistd cimport close

from xenia.abi.xen cimport DOMID_IO, DOMID_XEN, INVALID_M2P_ENTRY
from xenia.machine.free_frames cimport (
    free_frames_end, free_frames_init, free_frames_put, free_frames_take, free_frames_take_extent,
)
from xenia.machine.lock cimport RANK_MACHINE, lock, lock_init, unlock
from xenia.machine.paging cimport PAGE_ACCESSED, PAGE_NX, PAGE_PRESENT, PAGE_SIZE

from xenia.errors import ConfigError

cdef extern from "<sys/mman.h>" nogil:
    void *mmap(void *address, size_t length, int protection, int flags, int fd, long offset)
    int munmap(void *address, size_t length)
    void *MAP_FAILED
    int madvise(void *address, size_t length, int advice)
    int PROT_NONE, PROT_READ, PROT_WRITE, MAP_SHARED, MAP_PRIVATE, MAP_ANONYMOUS, MAP_NORESERVE, MAP_FIXED, MADV_REMOVE

cdef enum:
    MAX_RUN = 512
    # So many frames at the bottom are handed out last, in machines that have as many again.
    LOW = 4096
    # Nothing is mapped in so many bytes before and behind the memory.
    GUARD_BEFORE = 1 << 30
    LITTLE_GUARD = 1 << 20      # where the process may have only so much address space (ulimit -v)
    # M2P entries of page tables: present, accessed; supervisor, read-only, and never executed.
    TABLE = PAGE_PRESENT | PAGE_ACCESSED

# All that a frame number of 32 bits names: 16 TiB.  A process has 128: where it has no room for that any more, less is
# better than nothing.
cdef size_t[4] GUARDS_BEHIND = [<size_t>1 << 44, <size_t>1 << 40, <size_t>1 << 32, LITTLE_GUARD]

cdef uint64_t LEAF = PAGE_NX | TABLE


cdef uint64_t machine_alloc(Machine *machine, uint16_t owner) noexcept nogil:
    return machine_alloc_extent(machine, owner, 0)


cdef uint64_t machine_alloc_extent(Machine *machine, uint16_t owner, unsigned order) noexcept nogil:
    cdef uint64_t first, i
    lock(&machine.lock)
    scrub_run(machine)
    first = free_frames_take_extent(&machine.free, order)
    if first:
        for i in range(first, first + (<uint64_t>1 << order)):
            take(machine, i, owner)
    unlock(&machine.lock)
    return first if first else INVALID_M2P_ENTRY


# A frame is scrubbed by punching a hole into the machine's memory file: what a domain has given back is the host's, and
# reads as zeros when somebody gets it.  That is a system call, so it is done not one by one but in runs of adjacent
# frames, up and down: kernels give their memory back in either order.  Others wait for memory meanwhile, so no run is
# longer than MAX_RUN.
cdef void machine_free(Machine *machine, uint64_t mfn) noexcept nogil:
    machine.m2p[mfn] = INVALID_M2P_ENTRY
    lock(&machine.lock)
    if machine.nr_run == MAX_RUN or mfn != machine.run + machine.nr_run and mfn + 1 != machine.run:
        scrub_run(machine)
    if machine.nr_run == 0 or mfn < machine.run:
        machine.run = mfn
    machine.nr_run += 1
    memset(&machine.frames[mfn], 0, sizeof(Frame))
    free_frames_put(&machine.free, mfn)
    unlock(&machine.lock)


cdef void machine_scrub(Machine *machine) noexcept nogil:
    lock(&machine.lock)
    scrub_run(machine)
    unlock(&machine.lock)


cdef inline void scrub_run(Machine *machine) noexcept nogil:
    cdef uint8_t *start = machine.base + (machine.run << 12)
    cdef size_t length = machine.nr_run << 12
    if machine.nr_run and madvise(start, length, MADV_REMOVE):
        memset(start, 0, length)
    machine.nr_run = 0


cdef inline void take(Machine *machine, uint64_t mfn, uint16_t owner) noexcept nogil:
    cdef Frame *frame = &machine.frames[mfn]
    memset(frame, 0, sizeof(Frame))
    frame.refs = 1
    frame.owner = owner
    frame.flags = FRAME_ALLOCATED


cdef class MachineMemory:
    """`size` bytes of machine memory (a multiple of 4 KiB) and their frame table; a writable buffer over all of it.

    `scatter`, a seed, hands frames out in a random order, so that nothing can lean on where they lie.
    Raises ConfigError when the host cannot give that much.
    """

    def __cinit__(self, size: int, scatter: int | None = None):
        cdef Machine *machine = &self.storage
        cdef bint enough
        self.machine = machine
        lock_init(&machine.lock, RANK_MACHINE)
        machine.memfd = -1
        machine.nr_frames = size >> 12
        self.length = <Py_ssize_t>(machine.nr_frames << 12)
        try:
            machine.memfd = os.memfd_create("xenia-machine-memory", os.MFD_CLOEXEC)
            os.ftruncate(machine.memfd, self.length)
        except OSError as error:
            raise ConfigError(f"the host gives no {size >> 20} MiB of machine memory: {error.strerror}") from None
        machine.base = self.map_between_guards()
        machine.frames = <Frame *>mmap(NULL, machine.nr_frames * sizeof(Frame), PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        if machine.base == NULL or machine.frames == MAP_FAILED:
            raise ConfigError(f"the host gives no {size >> 20} MiB of machine memory")
        with nogil:
            enough = build_m2p(machine)
        if not enough:
            raise ConfigError(f"the host gives no {size >> 20} MiB of machine memory")
        if scatter is not None:
            order = [free_frames_take(&machine.free) for _ in range(machine.free.count)]
            random.Random(scatter).shuffle(order)
            for mfn in order:
                free_frames_put(&machine.free, mfn)

    def __dealloc__(self):
        cdef Machine *machine = &self.storage
        with nogil:
            if self.nr_reserved:
                munmap(self.reserved, self.nr_reserved)
            if machine.frames != NULL and machine.frames != MAP_FAILED:
                munmap(machine.frames, machine.nr_frames * sizeof(Frame))
            free_frames_end(&machine.free)
        if machine.memfd >= 0:
            close(machine.memfd)

    cdef uint8_t *map_between_guards(self):
        cdef bint limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
        cdef size_t before = LITTLE_GUARD if limited else GUARD_BEFORE, behind
        cdef void *base
        for behind in GUARDS_BEHIND:
            if limited and behind > LITTLE_GUARD:
                continue
            self.nr_reserved = before + self.length + behind
            self.reserved = mmap(NULL, self.nr_reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
            if self.reserved != MAP_FAILED:
                break
        else:
            self.nr_reserved = 0
            return NULL
        base = mmap(<uint8_t *>self.reserved + before, self.length, PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_NORESERVE | MAP_FIXED, self.storage.memfd, 0)
        return NULL if base == MAP_FAILED else <uint8_t *>base

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.machine.base, self.length, 0, flags)

    def __releasebuffer__(self, Py_buffer *buffer):
        pass

    def allocate(self, owner: int, count: int) -> array[int]:
        """`count` zeroed frames for domain `owner`, as an array of their mfns: in rows as far as they lie so, whoever
        had them before, for Linux grants frames in a row where it needs much memory (net/9p/trans_xen.c).

        ConfigError if not all are to be had; then none is taken.
        """
        cdef uint64_t i, got = 0, wanted = count
        cdef uint16_t domid = owner
        cdef uint64_t[::1] view
        cdef uint64_t adjacent = 0, rising = 1
        frames = array("Q", bytes(8 * count))
        if count == 0:
            return frames
        view = frames
        with nogil:
            while got < wanted <= self.machine.free.count + got:
                view[got] = machine_alloc(self.machine, domid)
                if view[got] == INVALID_M2P_ENTRY:      # a guest was quicker
                    break
                if got:
                    rising += view[got] > view[got - 1]
                    adjacent += view[got] - view[got - 1] + 1 in (0, 2)
                got += 1
            if got < wanted:
                for i in range(got):
                    machine_free(self.machine, view[i])
        if got < wanted:
            raise ConfigError(f"not enough machine memory: {count >> 8} MiB asked for, {self.nr_free >> 8} MiB free")
        # What comes back to the machine comes up or down, mostly in rows; what is scattered is meant to be.
        return array("Q", sorted(frames)) if rising < got and adjacent > got // 2 else frames

    @property
    def m2p(self) -> memoryview:
        """The M2P table, indexed by mfn: what pfn its owner knows the frame as."""
        cdef uint64_t offset = <uint8_t *>self.machine.m2p - self.machine.base
        return memoryview(self)[offset:offset + 8 * self.machine.nr_frames].cast("Q")

    @property
    def nr_frames(self) -> int:
        """Frames in all."""
        return self.machine.nr_frames

    @property
    def nr_free(self) -> int:
        """Frames that nobody has."""
        return self.machine.free.count

    @property
    def resident(self) -> int:
        """Bytes that the host has given to it by now: what was written to, and not given back since."""
        return os.fstat(self.machine.memfd).st_blocks * 512

    @property
    def fd(self) -> int:
        """The memfd."""
        return self.machine.memfd


cdef bint build_m2p(Machine *machine) noexcept nogil:
    # Frame 0 stays unused, a frame that is no memory; then the M2P's own frames; then the L1, L2 and L3 tables that map
    # them.
    cdef uint64_t entries = (machine.nr_frames * 8 + PAGE_SIZE - 1) >> 12
    cdef uint64_t l1s = (entries + 511) >> 9, l2s = (l1s + 511) >> 9
    cdef uint64_t first_l1 = 1 + entries, first_l2 = first_l1 + l1s, first_free, i
    machine.m2p = frame_words(machine, 1)
    machine.m2p_l3 = first_l2 + l2s
    memset(machine.m2p, 0xff, entries << 12)
    for i in range(entries):
        frame_words(machine, first_l1)[i] = (1 + i) << 12 | LEAF
    for i in range(l1s):
        frame_words(machine, first_l2)[i] = (first_l1 + i) << 12 | TABLE
    for i in range(l2s):
        frame_words(machine, machine.m2p_l3)[i] = (first_l2 + i) << 12 | TABLE
    first_free = machine.m2p_l3 + 1
    take(machine, 0, DOMID_IO)
    for i in range(1, first_free):
        take(machine, i, DOMID_XEN)
    # The bottom is for who asks for frames in a row.  It also keeps mfn and pfn apart: where both were about the same,
    # so would be the places of a guest's M2P and P2M entries in an engine's TLB, which then had room for only one of
    # them.
    return free_frames_init(
        &machine.free, first_free, machine.nr_frames, LOW if machine.nr_frames - first_free >= 2 * LOW else 0)
