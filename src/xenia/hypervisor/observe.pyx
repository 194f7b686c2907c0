"""What a domain does, as those see it who asked to be told: see domain/observers."""

import errno
import os
from contextlib import suppress

from libc.stdlib cimport calloc, free
from xenia.domain.observers cimport (
    NR_PORTS, SEEN_HYPERCALL, Observation, Observers, observers_begin, observers_end, observers_next, observers_taken,
)
from xenia.hypercalls.table cimport HYPERCALL_CONTINUE, HYPERCALL_DONE
from xenia.hypervisor.domain cimport DomainHandle
from xenia.machine.atomic cimport flag_set, flag_store

from xenia.hypercalls.table import rows

cdef enum:
    AT_ONCE = 4096          # that are taken


def hypercall_numbers() -> dict[str, int]:
    """The hypercalls that are answered, by name."""
    return {row.name: row.number for row in rows()}


cdef class Watch:
    """A domain that is observed, for as long as this is there and was not ended.

    wake_fd   what is readable when there is something to `take`, after `sleep`
    """

    cdef DomainHandle handle
    cdef Observers *observers
    cdef bint begun
    cdef readonly int wake_fd

    def __cinit__(self, DomainHandle handle):
        self.wake_fd = -1
        self.observers = <Observers *>calloc(1, sizeof(Observers))
        if self.observers == NULL:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        self.handle = handle
        self.wake_fd = self.observers.wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def __dealloc__(self):
        if self.begun:
            with nogil:
                observers_end(self.observers, self.handle.domain)
        if self.wake_fd >= 0:
            os.close(self.wake_fd)
        free(self.observers)

    def watch(self, hypercalls: int, ports: list[int] | None, levels: int) -> None:
        """Have that told from now on: a bit for each number of a hypercall, ports (None: all), a bit for each level.
        Nothing of it: the domain goes as fast as ever."""
        cdef Observers *it = self.observers
        cdef int port, i
        it.hypercalls = hypercalls
        it.levels = levels
        it.all_events = ports is None
        for i in range(NR_PORTS // 64):
            it.ports[i] = 0
        for port in ports or ():
            it.ports[port >> 6] |= <unsigned long long>1 << (port & 63)
        wanted = bool(hypercalls or levels or ports is None or ports)
        if wanted and not self.begun:
            with nogil:
                observers_begin(it, self.handle.domain)
        elif self.begun and not wanted:
            with nogil:
                observers_end(it, self.handle.domain)
        self.begun = wanted

    def take(self) -> list[tuple[int, int, int, int, tuple[int, ...], int | None]]:
        """The oldest that were not taken yet, at most 4096: kind, time in ns, vcpu, number, arguments, result (None:
        the call is made again, or has none).  One thread at a time."""
        cdef Observation *found
        cdef int i
        taken = []
        while len(taken) < AT_ONCE:
            found = observers_next(self.observers)
            if found == NULL:
                break
            has_none = found.kind != SEEN_HYPERCALL or found.result in (HYPERCALL_CONTINUE, HYPERCALL_DONE)
            taken.append((
                found.kind, found.time, found.vcpu, found.number, tuple([found.args[i] for i in range(6)]),
                None if has_none else found.result,
            ))
            observers_taken(self.observers)
        return taken

    def sleep(self) -> bool:
        """Have `wake_fd` made readable by the next; False where there is one already."""
        flag_set(&self.observers.asleep)
        if observers_next(self.observers) == NULL:
            return True
        flag_store(&self.observers.asleep, 0)
        return False

    def wake(self) -> None:
        """Make `wake_fd` readable."""
        os.eventfd_write(self.wake_fd, 1)

    def awake(self) -> None:
        """It was."""
        with suppress(BlockingIOError):
            os.eventfd_read(self.wake_fd)

    @property
    def lost(self) -> int:
        """How many there was no room for, because nobody took them in time."""
        return self.observers.lost
