"""Frames of a memory file seen side by side, wherever in it they are."""
from collections.abc import Iterable

from cpython.buffer cimport PyBuffer_FillInfo
from libc.errno cimport errno
from libc.stdint cimport uint64_t
from posix.mman cimport MAP_ANONYMOUS, MAP_FAILED, MAP_FIXED, MAP_NORESERVE, MAP_PRIVATE, MAP_SHARED
from posix.types cimport off_t
from posix.mman cimport PROT_NONE, PROT_READ, PROT_WRITE, mmap, munmap

from xenia.machine.paging cimport PAGE_SHIFT, PAGE_SIZE


cdef class Window:
    """A mapping of frames, as one buffer, with nothing mapped on the pages before and behind it.

    fd          the memory file
    frames      numbers of the frames, in the order in which they are to lie side by side
    writable    whether the buffer may be written
    """

    cdef char *base
    cdef size_t size
    cdef bint writable
    cdef int exports

    def __cinit__(self, int fd, frames: Iterable[int], bint writable=True):
        cdef size_t done = 0
        cdef uint64_t frame
        cdef void *at
        cdef int protection
        frames = list(frames)
        self.writable = writable
        self.size = len(frames) * PAGE_SIZE
        at = mmap(NULL, self.size + 2 * PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        if at == MAP_FAILED:
            raise OSError(errno, "no address space for a mapping of %d frames" % len(frames))
        self.base = <char *>at + PAGE_SIZE
        protection = PROT_READ | PROT_WRITE if writable else PROT_READ
        for frame in frames:
            at = mmap(self.base + done, PAGE_SIZE, protection, MAP_SHARED | MAP_FIXED, fd, <off_t>(frame << PAGE_SHIFT))
            if at == MAP_FAILED:
                raise OSError(errno, "frame %d cannot be mapped" % frame)
            done += PAGE_SIZE

    def __dealloc__(self):
        self.unmap()

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        if self.base == NULL:
            raise ValueError("a window that was closed")
        PyBuffer_FillInfo(buffer, self, self.base, self.size, not self.writable, flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *buffer):
        self.exports -= 1

    def close(self) -> None:
        """Unmap the frames.  Closing again does nothing; BufferError while views of it are in use."""
        if self.exports:
            raise BufferError("views of a window are in use")
        self.unmap()

    cdef unmap(self):
        cdef char *base = self.base
        self.base = NULL
        if base != NULL:
            with nogil:
                munmap(base - PAGE_SIZE, self.size + 2 * PAGE_SIZE)
