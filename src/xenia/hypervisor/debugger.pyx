"""What a debugger asks of a domain: where its vcpus are to stop, which of them go on and how, and why they stopped.

Theory of operation.  A processor that comes to where it is to stop tells its debugger on the vcpu's own thread
(EXIT_DEBUG), which notes why, holds the vcpu (`Seat.held`: it sleeps, whoever wakes it) and writes to an eventfd.  The
others run on until whoever reads that pauses the domain.  From then on all stand, and what they have can be looked at.
When the domain is unpaused, those go on that are not held.
"""

import os

from libc.stdint cimport uint64_t

from xenia.cpu.processor cimport (
    MAX_STOPS, STEPPING_NOT, STEPPING_WANTED, STOP_AT_CODE, STOP_AT_READ, STOP_AT_WRITE, STOP_BREAKPOINT, STOP_STEPPED,
    STOP_WATCHPOINT, Exit, Processor, Stop,
)
from xenia.domain.domain cimport MAX_VCPUS, Vcpu
from xenia.hypervisor.domain cimport DomainHandle
from xenia.machine.atomic cimport flag_read, flag_store

from xenia.errors import ConfigError

cdef extern from "<unistd.h>" nogil:
    long write(int fd, const void *buffer, size_t count)

MOST_STOPS: int = MAX_STOPS
CODE: int = STOP_AT_CODE
WRITE: int = STOP_AT_WRITE
READ: int = STOP_AT_READ
STEPPED: int = STOP_STEPPED
BREAKPOINT: int = STOP_BREAKPOINT
WATCHPOINT: int = STOP_WATCHPOINT

cdef struct Stopped:
    int why
    uint64_t address
    volatile unsigned char fresh    # nobody has taken it yet


cdef class Debugger:
    """The debugger of a domain, of which there is one at most."""

    cdef DomainHandle handle
    cdef Stopped stopped[MAX_VCPUS]
    cdef readonly int descriptor    # an eventfd: readable when a vcpu has stopped
    cdef bint attached

    def __cinit__(self, DomainHandle handle not None):
        self.descriptor = -1

    def __init__(self, DomainHandle handle) -> None:
        """ConfigError where it has one already, or its engine cannot stop where it is told.

        Precondition: the domain is paused, as for all but `taken`.
        """
        if handle.domain.links.debugger != NULL:
            raise ConfigError("it has a debugger already")
        if handle.domain.vcpus[0].processor.ops.set_stops == NULL:
            raise ConfigError("the engine that runs it does not stop at addresses, nor step")
        self.handle = handle
        self.descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        handle.domain.links.stopped = on_stop
        handle.domain.links.debugger = <void *>self
        self.attached = True

    def set_stops(self, stops: list[tuple[int, int, int]]) -> None:
        """Stop there and nowhere else: of each CODE, WRITE or READ (or both, added), the address, and of data the
        length in bytes.  MOST_STOPS at the most."""
        cdef Stop wanted[MAX_STOPS]
        cdef Processor *processor
        cdef unsigned nr = 0
        cdef int number
        if len(stops) > MAX_STOPS:
            raise ConfigError(f"a debugger can have {MAX_STOPS} breakpoints and watchpoints, not {len(stops)}")
        for kind, address, length in stops:
            wanted[nr].kind = kind
            wanted[nr].address = address
            wanted[nr].length = length
            nr += 1
        for number in range(self.handle.max_vcpus):
            processor = self.handle.domain.vcpus[number].processor
            with nogil:
                processor.ops.set_stops(processor, wanted, nr)

    def let(self, number: int, *, runs: bool, steps: bool = False) -> None:
        """When the domain is unpaused, the vcpu stays, goes on, or does one instruction, its events held back."""
        cdef Vcpu *vcpu = self.handle.domain.vcpus[<int>number]
        flag_store(&self.handle.party.seats[<int>number].held, not runs)
        vcpu.processor.stepping = STEPPING_WANTED if steps else STEPPING_NOT

    def is_up(self, number: int) -> bool:
        """Whether the guest has brought it up."""
        return bool(self.handle.domain.vcpus[<int>number].is_up)

    def taken(self) -> list[tuple[int, int, int]]:
        """Which vcpus have stopped since it was last asked: number, why (STEPPED, BREAKPOINT, WATCHPOINT), address."""
        cdef int number
        found = []
        try:
            os.eventfd_read(self.descriptor)
        except BlockingIOError:
            pass
        for number in range(self.handle.max_vcpus):
            if flag_read(&self.stopped[number].fresh):
                flag_store(&self.stopped[number].fresh, 0)
                found.append((number, self.stopped[number].why, self.stopped[number].address))
        return found

    def detach(self) -> None:
        """The guest is as if there had never been one, and all its vcpus go on when it is unpaused."""
        cdef int number
        if self.attached:
            self.attached = False
            self.set_stops([])
            for number in range(self.handle.max_vcpus):
                self.let(number, runs=True)
            self.handle.domain.links.debugger = NULL
            os.close(self.descriptor)
            self.descriptor = -1


cdef void on_stop(Vcpu *vcpu, const Exit *exit) noexcept nogil:
    on_stop_of(vcpu, exit, vcpu.domain.links.debugger)


cdef void on_stop_of(Vcpu *vcpu, const Exit *exit, void *debugger) noexcept nogil:
    cdef Stopped *stopped = &(<Debugger>debugger).stopped[vcpu.id]
    cdef uint64_t one = 1
    stopped.why = exit.vector
    stopped.address = exit.address
    flag_store(&stopped.fresh, 1)
    flag_store(&(<Debugger>debugger).handle.party.seats[vcpu.id].held, 1)
    write((<Debugger>debugger).descriptor, &one, 8)
