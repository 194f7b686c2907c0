"""A domain that runs, as its backends see it.

To the domain its backends are in another domain, by default domain 0: what it grants to that one, and offers it a
channel to, is theirs.
"""

import os
from collections.abc import Sequence

cimport cython
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from xenia.abi.grant_table cimport GNTST_okay
from xenia.foreign.frames cimport NOTES, Frames, Granted
from xenia.domain.directory cimport domain_leave, domain_use
from xenia.domain.domain cimport Domain, GrantHold
from xenia.domain.event_state cimport Listener
from xenia.domain.events cimport event_connect, event_disconnect, event_ignore, event_listen, event_post
from xenia.domain.grants cimport GRANT_MAP, grant_hold, grant_release
from xenia.domain.written cimport frame_written
from xenia.hypervisor.domain cimport DomainHandle
from xenia.hypervisor.pool cimport domain_charge, domain_wake
from xenia.machine.atomic cimport count_add
from xenia.machine.errand cimport Errand, ErrandSlot, errands_add, errands_remove
from xenia.machine.lock cimport lock, unlock

from xenia.errors import HypervisorBug
from xenia.foreign.fault import FrontendFault
from xenia.foreign.foreign import Channel, Foreign, Interface, Mapping, Service
from xenia.machine.window import Window

cdef extern from "<sched.h>" nogil:
    int sched_yield()

if sizeof(GrantHold) > NOTES * sizeof(uint64_t):
    raise HypervisorBug("a hold does not fit into the notes of its frame")


@cython.no_gc_clear     # leaving the domain needs the machine's directory
cdef class DomainFrames(Frames):
    """What the domain granted `holder`.  It may outlive the domain, which then grants nothing."""

    cdef DomainHandle handle        # keeps the machine's memory
    cdef Domain *domain
    cdef uint16_t holder

    def __cinit__(self, DomainHandle handle, uint16_t holder):
        self.handle = handle
        self.holder = holder
        self.domain = handle.domain
        domain_use(self.domain)

    def __dealloc__(self):
        domain_leave(self.domain)

    cdef int hold(self, uint32_t ref, bint writable, Granted *granted) noexcept nogil:
        cdef GrantHold *hold = <GrantHold *>granted.opaque
        if grant_hold(self.domain, self.holder, ref, writable, GRANT_MAP, hold) != GNTST_okay:
            return -1
        granted.memory = self.domain.machine.base + (hold.mfn << 12)
        return 0

    cdef void release(self, Granted *granted) noexcept nogil:
        grant_release(<GrantHold *>granted.opaque)

    cdef void written(self, Granted *granted) noexcept nogil:
        cdef GrantHold *hold = <GrantHold *>granted.opaque
        lock(&self.domain.memory.lock)
        frame_written(self.domain, hold.mfn)
        unlock(&self.domain.memory.lock)

    cdef void notify(self, uint32_t port) noexcept nogil:
        # The domain must not be taken apart meanwhile.
        lock(&self.domain.directory.lock)
        if self.domain.directory.domains[self.domain.domid] == self.domain:
            event_post(self.domain, port)
        unlock(&self.domain.directory.lock)

    cdef void *listen(self, uint32_t port, int event_fd, bint (*answer)(void *) noexcept nogil,
                      void *argument) noexcept nogil:
        cdef Listener *listener = <Listener *>calloc(1, sizeof(Listener))
        if listener != NULL:
            listener.answer = answer
            listener.argument = argument
            if not event_listen(self.domain, port, event_fd, listener):
                free(listener)
                listener = NULL
        return listener

    cdef void ignore(self, uint32_t port, void *listening) noexcept nogil:
        event_ignore(self.domain, port, <Listener *>listening)
        free(listening)

    def lend(self, Errand errand not None) -> None:
        """See Frames.lend."""
        errands_add(&self.domain.links.errands, errand)

    def take_back(self, Errand errand not None) -> None:
        """See Frames.take_back."""
        cdef ErrandSlot *slot = errands_remove(&self.domain.links.errands, errand)
        if slot != NULL:
            with nogil:
                self.wake()
                while count_add(&slot.inside, 0):
                    sched_yield()

    cdef void wake(self) noexcept nogil:
        lock(&self.domain.directory.lock)
        if self.domain.directory.domains[self.domain.domid] == self.domain:
            domain_wake(self.domain)
        unlock(&self.domain.directory.lock)

    cdef void charge(self, uint64_t ns) noexcept nogil:
        lock(&self.domain.directory.lock)
        if self.domain.directory.domains[self.domain.domid] == self.domain:
            domain_charge(self.domain, ns)
        unlock(&self.domain.directory.lock)

    # The same for who holds the interpreter's lock.

    cdef bint connect(self, uint32_t port, uint16_t backend_domid, int event_fd):
        cdef bint refused
        with nogil:
            refused = event_connect(self.domain, port, backend_domid, event_fd) != 0
        return not refused

    cdef disconnect(self, uint32_t port, int event_fd):
        with nogil:
            event_disconnect(self.domain, port, event_fd)

    cdef send(self, uint32_t port):
        with nogil:
            self.notify(port)

    cdef owe(self, uint64_t ns):
        with nogil:
            self.charge(ns)


cdef class Holds:
    """Frames held by their references, until `release`."""

    cdef DomainFrames frames
    cdef readonly list mfns  # type: list[int]
    cdef bytearray notes            # a Granted for each

    def __init__(self, DomainFrames frames, refs: Sequence[int], bint writable):
        cdef Granted *granted
        cdef uint32_t number
        cdef bint refused
        self.frames = frames
        self.mfns = []
        self.notes = bytearray(sizeof(Granted) * len(refs))
        for index, ref in enumerate(refs):
            granted = &(<Granted *><char *>self.notes)[<int>index]
            refused = not 0 <= ref < 1 << 32
            if not refused:
                number = ref
                with nogil:
                    refused = frames.hold(number, writable, granted)
            if refused:
                self.release()
                raise FrontendFault(f"grant reference {ref} is not granted{' for writing' if writable else ''}")
            self.mfns.append((<GrantHold *>granted.opaque).mfn)

    def release(self) -> None:
        """Give them back.  Again does nothing."""
        cdef Granted *granted = <Granted *><char *>self.notes
        cdef int index, count = len(self.mfns)
        self.mfns = []
        with nogil:
            for index in range(count):
                self.frames.release(&granted[index])


class DomainForeign(Foreign):
    """A DomainHandle as its backends in domain `backend_domid` see it."""

    __slots__ = ("_backend_domid", "_frames", "_handle")

    def __init__(self, handle: DomainHandle, backend_domid: int = 0) -> None:
        self._handle = handle
        self._backend_domid = backend_domid
        self._frames = DomainFrames(handle, backend_domid)

    @property
    def domid(self) -> int:
        return self._handle.domid

    @property
    def frames(self) -> Frames:
        return self._frames

    def charge(self, ns: int) -> None:
        (<DomainFrames>self._frames).owe(ns)

    def map(self, refs: Sequence[int], writable: bool = True) -> Mapping:
        holds = Holds(self._frames, refs, writable)
        try:
            return DomainMapping(self._handle, holds, writable)
        except BaseException:
            holds.release()
            raise

    def bind(self, port: int) -> Channel:
        return DomainChannel(self._frames, self._backend_domid, port)

    def interface(self, service: Service) -> Interface:
        handle = self._handle
        mfn, port = handle.store_mfn, handle.store_port
        if service is Service.CONSOLE:
            mfn, port = handle.console_mfn, handle.console_port
        channel = self.bind(port)
        return Interface(FrameView(handle, mfn), channel)


class DomainMapping(Mapping):
    """Granted frames, mapped once more side by side."""

    __slots__ = ("_holds", "_memory", "_window")

    def __init__(self, handle: DomainHandle, holds: Holds, writable: bool) -> None:
        self._holds = holds
        self._window = Window(handle.machine.memory.fd, holds.mfns, writable)
        self._memory = memoryview(self._window)

    @property
    def memory(self) -> memoryview:
        return self._memory

    def close(self) -> None:
        if self._holds is not None:
            self._memory.release()
            self._window.close()
            self._holds.release()
            self._holds = None


class FrameView(Mapping):
    """A frame where it lies in machine memory.  Whoever has it knows that the domain keeps it (`domain_hold_rings`)."""

    __slots__ = ("_memory",)

    def __init__(self, handle: DomainHandle, mfn: int) -> None:
        self._memory = handle.page(mfn)

    @property
    def memory(self) -> memoryview:
        return self._memory

    def close(self) -> None:
        self._memory.release()


class DomainChannel(Channel):
    """A port of the domain's, bound to an eventfd."""

    __slots__ = ("_event_fd", "_frames", "_port")

    def __init__(self, frames: DomainFrames, backend_domid: int, port: int) -> None:
        event_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        if not 0 <= port < 1 << 32 or not (<DomainFrames>frames).connect(port, backend_domid, event_fd):
            os.close(event_fd)
            raise FrontendFault(f"port {port} is not unbound, or not for us")
        self._frames = frames
        self._port = port
        self._event_fd = event_fd

    @property
    def event_fd(self) -> int:
        return self._event_fd

    def notify(self) -> None:
        (<DomainFrames>self._frames).send(self._port)

    def close(self) -> None:
        if self._event_fd >= 0:
            (<DomainFrames>self._frames).disconnect(self._port, self._event_fd)
            os.close(self._event_fd)
            self._event_fd = -1
