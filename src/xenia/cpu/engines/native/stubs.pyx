"""The stubs of one virtual processor: where they share memory with Xenia, and the process that makes them."""

import os
import socket
import subprocess

from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap
from posix.unistd cimport close

from xenia.cpu.engines.native.stub cimport (
    AREA_SIZE, CONTROL_SIZE, MAKE_FAULTING, MAKE_LOOKED_AT, NR_STUBS, Arena, Stub, StubControl, StubReport,
)

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

    def tell(self, descriptors: list[int]) -> None:
        """Of another virtual processor: machine memory, area, requests, answers, and an event for each stub.

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
        arena.area = arena.requests = arena.answers = -1
        arena.make = MAKE_FAULTING if hides_cpuid else MAKE_LOOKED_AT
        for index in range(NR_STUBS):
            arena.stubs[index].event = -1
        arena.area = os.memfd_create("xenia-stubs", os.MFD_CLOEXEC)
        os.ftruncate(arena.area, NR_STUBS * AREA_SIZE)
        arena.base = <uint8_t *>mmap(NULL, NR_STUBS * AREA_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, arena.area, 0)
        if arena.base == MAP_FAILED:
            arena.base = NULL
            raise ConfigError("the host gives no memory for stubs")
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
                maker.tell([memory, arena.area, requests, answers, *events])
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
            close_one(arena.requests)
            close_one(arena.answers)
            close_one(arena.area)
            for index in range(NR_STUBS):
                close_one(arena.stubs[index].event)
        free(arena)


cdef inline void close_one(int fd) noexcept nogil:
    if fd >= 0:
        close(fd)
