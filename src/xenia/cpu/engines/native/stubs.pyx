"""The stubs of one virtual processor: where they share memory with Xenia, and the process that makes them."""

import atexit
import os
import socket
import subprocess

from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap
from posix.unistd cimport close

from xenia.cpu.engines.native.stub cimport (
    AREA_SIZE, CONTROL_SIZE, MAKE_FAULTING, MAKE_LOOKED_AT, NR_COPIES, NR_STUBS, Arena, Stub, StubControl,
    StubReport,
)
from xenia.machine.paging cimport PAGE_SIZE

from xenia.cpu.engines.native.build import beside_source
from xenia.cpu.engines.native.host import require
from xenia.errors import ConfigError


class Maker:
    """The process that makes stubs.  ConfigError where this host has none."""

    def __init__(self) -> None:
        require()
        self._socket, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            self._process = subprocess.Popen(
                [str(beside_source())], stdin=its, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={}
            )
        atexit.register(self._end)

    def _end(self) -> None:
        # It ends when nobody can tell it anything any more.
        self._socket.close()
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def tell(self, descriptors: list[int]) -> None:
        """Of another virtual processor: machine memory, copies, area, requests, answers, and an event for each stub.

        ConfigError where the maker is no more."""
        try:
            socket.send_fds(self._socket, [b"1"], descriptors)
        except OSError as error:
            raise ConfigError(f"the process that makes native processors has ended: {error}") from None


cdef class Stubs:
    """Room for NR_STUBS of them, over that machine memory, made by that maker.

    hides_cpuid    the host's processor does, by faulting
    """

    def __cinit__(self, int memory, maker: Maker, bint hides_cpuid) -> None:
        cdef Arena *arena = <Arena *>calloc(1, sizeof(Arena))
        cdef uint32_t index
        cdef Stub *stub
        if arena == NULL:
            raise MemoryError
        self.arena = arena
        arena.area = arena.copies = arena.requests = arena.answers = -1
        arena.make = MAKE_FAULTING if hides_cpuid else MAKE_LOOKED_AT
        for index in range(NR_STUBS):
            arena.stubs[index].event = -1
        arena.area = os.memfd_create("xenia-stubs", os.MFD_CLOEXEC)
        arena.copies = os.memfd_create("xenia-copies", os.MFD_CLOEXEC)
        arena.base = shared(arena.area, NR_STUBS * AREA_SIZE)
        arena.copied = shared(arena.copies, NR_COPIES * PAGE_SIZE)
        for index in range(NR_STUBS):
            stub = &arena.stubs[index]
            stub.arena = arena
            stub.index = index
            stub.control = <StubControl *>(arena.base + index * AREA_SIZE)
            stub.report = <StubReport *>(arena.base + index * AREA_SIZE + CONTROL_SIZE)
            stub.event = os.eventfd(0, os.EFD_CLOEXEC)
        self._meet(memory, maker)

    def _meet(self, memory: int, maker: Maker) -> None:
        cdef Arena *arena = self.arena
        requests, arena.requests = os.pipe2(os.O_CLOEXEC)
        try:
            arena.answers, answers = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                events = [arena.stubs[index].event for index in range(NR_STUBS)]
                maker.tell([memory, arena.copies, arena.area, requests, answers, *events])
            finally:
                os.close(answers)
        finally:
            os.close(requests)

    def __dealloc__(self):
        cdef Arena *arena = self.arena
        cdef int index
        if arena == NULL:
            return
        with nogil:
            if arena.base != NULL:
                munmap(arena.base, NR_STUBS * AREA_SIZE)
            if arena.copied != NULL:
                munmap(arena.copied, NR_COPIES * PAGE_SIZE)
            close_one(arena.requests)
            close_one(arena.answers)
            close_one(arena.area)
            close_one(arena.copies)
            for index in range(NR_STUBS):
                close_one(arena.stubs[index].event)
        free(arena)


cdef uint8_t *shared(int fd, size_t size) except NULL:
    cdef void *base
    os.ftruncate(fd, size)
    base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
    if base == MAP_FAILED:
        raise ConfigError("the host gives no memory for stubs")
    return <uint8_t *>base


cdef inline void close_one(int fd) noexcept nogil:
    if fd >= 0:
        close(fd)
