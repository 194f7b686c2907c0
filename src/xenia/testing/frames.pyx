"""What a guest in memory granted, for compiled backends: see xenia.testing.foreign."""

import mmap

from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memset
from posix.unistd cimport write

from xenia.foreign.frames cimport Frames, Granted
from xenia.machine.lock cimport Lock, lock, unlock
from xenia.machine.paging cimport PAGE_SIZE

cdef enum:
    NR_REFS = 4096
    NR_PORTS = 64

cdef struct Grant:
    uint32_t frame
    bint given
    bint writable
    bint written
    int32_t holds


cdef struct Listener:
    bint (*answer)(void *argument) noexcept nogil
    void *argument


cdef class MemoryFrames(Frames):
    """References and ports below 4096 and 64.

    fd          the guest's memory, `nr_pages` pages
    listens     whether events are answered on the thread that sends them
    """

    cdef Grant grants[NR_REFS]
    cdef int ports[NR_PORTS]
    cdef Listener listeners[NR_PORTS]
    cdef readonly bint listens      # whether events are answered on the thread that sends them
    cdef readonly uint64_t charged  # ns
    cdef Lock lock
    cdef Lock sending
    cdef object mapping
    cdef unsigned char[::1] memory

    def __init__(self, fd: int, nr_pages: int, listens: bool = False) -> None:
        self.mapping = mmap.mmap(fd, nr_pages * PAGE_SIZE)
        self.memory = self.mapping
        memset(self.grants, 0, sizeof(self.grants))
        memset(self.ports, 0xff, sizeof(self.ports))
        memset(self.listeners, 0, sizeof(self.listeners))
        self.listens = listens

    def grant(self, ref: int, frame: int, writable: bool) -> None:
        """The guest grants a frame of its memory."""
        if not 0 <= ref < NR_REFS:
            raise IndexError(ref)
        self.grants[<int>ref] = Grant(frame, True, writable, False, 0)

    def end_grant(self, ref: int) -> None:
        """The guest takes it back.  Whoever holds it goes on holding it."""
        self.grants[<int>ref].given = False

    def open_port(self, port: int, fd: int) -> None:
        """Notifications of a port are written to an eventfd."""
        if not 0 <= port < NR_PORTS:
            raise IndexError(port)
        self.ports[<int>port] = fd

    def send(self, port: int) -> bool:
        """The guest sends an event; False where nobody listens."""
        cdef uint32_t number = port
        cdef Listener *listener = &self.listeners[number]
        cdef bint listens, back = False
        with nogil:
            lock(&self.sending)
            listens = listener.answer != NULL
            if listens:
                back = listener.answer(listener.argument)
            unlock(&self.sending)
        if back:
            self.notify(number)
        return listens

    @property
    def held(self) -> int:
        """How many holds there are."""
        cdef int i
        return sum([self.grants[i].holds for i in range(NR_REFS)])

    @property
    def written_frames(self) -> set[int]:
        """References of frames that the guest's processor was told of."""
        cdef int i
        return {i for i in range(NR_REFS) if self.grants[i].written}

    def close(self) -> None:
        """Let go of the memory."""
        self.memory = None
        self.mapping.close()

    cdef int hold(self, uint32_t ref, bint writable, Granted *granted) noexcept nogil:
        cdef int result = -1
        if ref >= NR_REFS:
            return -1
        lock(&self.lock)
        if self.grants[ref].given and (self.grants[ref].writable or not writable):
            self.grants[ref].holds += 1
            granted.memory = &self.memory[0] + <uint64_t>self.grants[ref].frame * PAGE_SIZE
            granted.opaque[0] = ref
            granted.opaque[1] = writable
            result = 0
        unlock(&self.lock)
        return result

    cdef void release(self, Granted *granted) noexcept nogil:
        lock(&self.lock)
        self.grants[granted.opaque[0]].holds -= 1
        if granted.opaque[1]:
            self.grants[granted.opaque[0]].written = True
        unlock(&self.lock)

    cdef void written(self, Granted *granted) noexcept nogil:
        lock(&self.lock)
        self.grants[granted.opaque[0]].written = True
        unlock(&self.lock)

    cdef void charge(self, uint64_t ns) noexcept nogil:
        lock(&self.lock)
        self.charged += ns
        unlock(&self.lock)

    cdef void notify(self, uint32_t port) noexcept nogil:
        cdef uint64_t one = 1
        if port < NR_PORTS and self.ports[port] >= 0:
            write(self.ports[port], &one, 8)

    cdef void *listen(self, uint32_t port, int event_fd, bint (*answer)(void *) noexcept nogil,
                      void *argument) noexcept nogil:
        if not self.listens or port >= NR_PORTS:
            return NULL
        lock(&self.sending)
        self.listeners[port].answer = answer
        self.listeners[port].argument = argument
        unlock(&self.sending)
        return &self.listeners[port]

    cdef void ignore(self, uint32_t port, void *listening) noexcept nogil:
        lock(&self.sending)
        self.listeners[port].answer = NULL
        unlock(&self.sending)
