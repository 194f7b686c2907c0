"""The queues of a network card: two rings each, and who serves them.

Frames go both ways without the interpreter, and each on the thread of whoever has them.  What the guest sends is taken
from its ring when it notifies, on the thread that runs it, and goes all the way to where it belongs, which may be
another guest's receive ring: one copy, by the sender.  The queue's own thread takes what is too much for one event,
waits for what the network does not take yet and for the rate, and serves where events come through a descriptor only.
After large frames it takes what comes next, too, where there is a processor for it: bulk is copied while the guest
makes more, and a question goes out at once.

Locks.  `transmit` is held from the transmit ring to the network and back to the answers, `receive` while frames are
copied into the guest's pages; neither while anything sleeps.  A frame that comes back to its own guest (a reply of the
network's) finds `transmit` held and takes `receive`, so a queue's two rings share no state.
"""

import os

from cpython.buffer cimport PyBUF_CONTIG, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint64_t
from posix.unistd cimport close, read, write

from xenia.abi.netif cimport netif_rx_request_t, netif_tx_request_t
from xenia.backends.vif.depth cimport PATIENCE
from xenia.backends.vif.rate cimport Rate
from xenia.backends.vif.receive cimport Receive
from xenia.backends.vif.request cimport NR_RX, NR_TX
from xenia.backends.vif.steering cimport Steering
from xenia.backends.vif.transmit cimport Transmit
from xenia.foreign.frames cimport Frames
from xenia.machine.atomic cimport flag_store
from xenia.machine.clock cimport thread_time
from xenia.machine.lock cimport lock, try_lock, unlock
from xenia.machine.waiting cimport sleep_for, wait_for, waiting_init
from xenia.machine.loop cimport POLLIN, monotonic, pollfd
from xenia.net.port cimport Port
from xenia.rings.request cimport back_answered, back_attach

from xenia.backends.vif.features import Features
from xenia.errors import HypervisorBug

cdef enum:
    TURNS = 3                   # batches that the thread that runs the guest takes for one event


cdef class Queue:
    """One queue.

    port, steering, rate        the card's
    frames                      the frontend's
    tx_pages, rx_pages          a page each: its rings
    tx_port, rx_port            its ends of the channels, or of the only one
    tx_event_fd, rx_event_fd    readable after it notified
    features                    of the frontend

    Rings that another backend served before are served from where that one's answers end.
    """

    def __cinit__(self):
        self.wake_fd = -1

    def __init__(self, Port port not None, Steering steering not None, Rate rate not None, Frames frames not None,
                 tx_pages: Buffer, rx_pages: Buffer, *, tx_port: int, rx_port: int, tx_event_fd: int, rx_event_fd: int,
                 features: Features = Features()) -> None:
        self.transmit = Transmit()
        self.receive = Receive()
        self.frames = self.transmit.frames = self.receive.frames = frames
        self.transmit.port, self.transmit.steering, self.transmit.rate = port, steering, rate
        self.transmit.event_port, self.receive.event_port = tx_port, rx_port
        self.tx_event_fd, self.rx_event_fd = tx_event_fd, rx_event_fd
        self.receive.abilities.sg = features.sg
        self.receive.abilities.gso_tcpv4 = features.gso_tcpv4
        self.receive.abilities.gso_tcpv6 = features.gso_tcpv6
        self.receive.abilities.checksum_ipv4 = features.checksum_ipv4
        self.receive.abilities.checksum_ipv6 = features.checksum_ipv6
        self.leave_headroom(features.headroom)
        PyObject_GetBuffer(tx_pages, &self.tx_pages, PyBUF_CONTIG)
        self.has_tx_pages = True
        PyObject_GetBuffer(rx_pages, &self.rx_pages, PyBUF_CONTIG)
        self.has_rx_pages = True
        waiting_init(&self.waiting)
        self.attach_rings(back_answered(self.tx_pages.buf), back_answered(self.rx_pages.buf))
        if self.transmit.ring.nr_entries != NR_TX or self.receive.ring.nr_entries > NR_RX:
            raise HypervisorBug(f"rings of {self.tx_pages.len} and {self.rx_pages.len} bytes")
        self.wake_fd = self.receive.wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def __dealloc__(self):
        self.release_pages()
        if self.wake_fd >= 0:
            close(self.wake_fd)

    def go_on(self, tx_answered: int, rx_answered: int) -> None:
        """Serve the rings from those indices on, whatever the guest says of it.  Precondition: before `start`."""
        self.attach_rings(tx_answered, rx_answered)

    cdef void attach_rings(self, uint32_t tx_answered, uint32_t rx_answered) noexcept nogil:
        back_attach(&self.transmit.ring, self.tx_pages.buf, self.tx_pages.len, sizeof(netif_tx_request_t), tx_answered)
        back_attach(&self.receive.ring, self.rx_pages.buf, self.rx_pages.len, sizeof(netif_rx_request_t), rx_answered)

    def leave_headroom(self, headroom: int) -> None:
        """From the next frame on, leave so many bytes free before each that the guest is given."""
        cdef Receive receive = self.receive
        cdef uint32_t count = headroom
        with nogil:
            receive.leave_headroom(count)

    def start(self) -> None:
        """Take at once what the guest sends, on the thread that runs it, where that is possible."""
        cdef Transmit transmit = self.transmit
        cdef Receive receive = self.receive
        with nogil:
            if transmit.event_port == receive.event_port:
                self.tx_listening = self.frames.listen(transmit.event_port, self.tx_event_fd, answer_both, <void *>self)
            else:
                self.tx_listening = self.frames.listen(transmit.event_port, self.tx_event_fd, answer_transmit,
                                                       <void *>self)
                self.rx_listening = self.frames.listen(receive.event_port, self.rx_event_fd, answer_receive,
                                                       <void *>self)

    def serve(self) -> None:
        """Serve the rings until `stop`, or until the guest's rings are not to be believed any more (`fault`).  For a
        thread of its own."""
        self.is_beside = self.waiting.may_look
        with nogil:
            self.serve_rings()

    def stop(self) -> None:
        """Take no more from the guest; `serve` returns soon.  Precondition: the card does not give it frames."""
        self.closing = True
        with nogil:
            if self.tx_listening != NULL:
                self.frames.ignore(self.transmit.event_port, self.tx_listening)
                self.tx_listening = NULL
            if self.rx_listening != NULL:
                self.frames.ignore(self.receive.event_port, self.rx_listening)
                self.rx_listening = NULL
            self.wake()

    def rest(self) -> None:
        """Answer what was taken and not sent (NETIF_RSP_DROPPED), and forget what the guest had no room for.
        Precondition: `serve` has returned."""
        if not self.has_tx_pages:
            return
        with nogil:
            lock(&self.transmit.lock)
            if self.transmit.end():
                self.frames.notify(self.transmit.event_port)
            unlock(&self.transmit.lock)
            lock(&self.receive.lock)
            self.receive.end()
            unlock(&self.receive.lock)

    def close(self) -> None:
        """Rest, and let go of the frontend's pages.  Again does nothing.  Precondition: `serve` has returned."""
        if not self.has_tx_pages:
            return
        self.rest()
        self.transmit.ring.sring = self.receive.ring.sring = NULL
        self.release_pages()

    cdef release_pages(self):
        if self.has_tx_pages:
            self.has_tx_pages = False
            PyBuffer_Release(&self.tx_pages)
        if self.has_rx_pages:
            self.has_rx_pages = False
            PyBuffer_Release(&self.rx_pages)

    @property
    def fault(self) -> str:
        """Why its rings are not served any more; "" while they are."""
        cdef const char *reason = self.transmit.fault
        if reason == NULL:
            reason = self.receive.fault
        return "" if reason == NULL else reason.decode()

    @property
    def tx_answered(self) -> int:
        """The transmit ring's index up to which all is answered, after `rest`."""
        return self.transmit.ring.rsp_prod

    @property
    def rx_answered(self) -> int:
        """The same of the receive ring."""
        return self.receive.ring.rsp_prod

    @property
    def counts(self) -> dict[str, int]:
        """Those of VifStats."""
        sent: dict = self.transmit.counts
        received: dict = self.receive.counts
        return {**sent, **received, "notifications": sent["notifications"] + received["notifications"]}

    # --- the queue's own thread

    cdef void serve_rings(self) noexcept nogil:
        cdef pollfd waiting[3]
        cdef uint64_t drained
        cdef bint found, notify
        cdef int64_t before, ran = thread_time()
        waiting[0].fd = self.wake_fd
        waiting[1].fd = self.tx_event_fd
        waiting[2].fd = self.rx_event_fd
        waiting[0].events = waiting[1].events = waiting[2].events = POLLIN
        while True:
            # Only what is looked at after the descriptors were emptied is surely seen.
            read(self.wake_fd, &drained, 8)
            read(self.tx_event_fd, &drained, 8)
            if self.rx_event_fd != self.tx_event_fd:
                read(self.rx_event_fd, &drained, 8)
            if self.closing or self.transmit.fault != NULL or self.receive.fault != NULL:
                self.shut()
                return
            notify = False
            lock(&self.transmit.lock)
            found = self.transmit.serve(&notify)
            if found and self.transmit.bulk:
                self.transmit.counts.beside += 1
            unlock(&self.transmit.lock)
            if notify:
                self.frames.notify(self.transmit.event_port)
            lock(&self.receive.lock)
            notify = self.receive.look()
            unlock(&self.receive.lock)
            if notify:
                self.frames.notify(self.receive.event_port)
            before, ran = ran, thread_time()
            self.frames.charge(ran - before)
            if not found and self.transmit.fault == NULL:
                self.sleep(waiting)

    cdef void shut(self) noexcept nogil:
        # A guest that is not believed on one ring is not on the other.
        lock(&self.transmit.lock)
        if self.transmit.fault == NULL:
            self.transmit.fault = self.receive.fault
        unlock(&self.transmit.lock)
        lock(&self.receive.lock)
        if self.receive.fault == NULL:
            self.receive.fault = self.transmit.fault
        unlock(&self.receive.lock)

    cdef void sleep(self, pollfd *waiting) noexcept nogil:
        # Until an event, until the rate lets more pass, or what the guest leaves lying is to be looked at.
        cdef int64_t until = self.transmit.not_before
        cdef int64_t left = max(0, until - monotonic()) if until else -1
        if self.receive.looks:
            left = min(left, <int64_t>PATIENCE) if until else PATIENCE
        if self.transmit.bulk:
            wait_for(&self.waiting, waiting, 3, left)
        else:
            sleep_for(waiting, 3, left)

    # --- the thread that runs the guest

    cdef bint answer_transmit(self) noexcept nogil:
        # The guest notifies, and runs on when this returns.  Whoever else takes frames now may have looked too early,
        # and looks again.
        cdef bint notify = False
        cdef int turns = 0
        cdef int64_t until
        if self.transmit.bulk and self.is_beside:
            self.wake()
            return False
        if not try_lock(&self.transmit.lock):
            self.wake()
            return False
        until = self.transmit.not_before
        while turns < TURNS and not self.closing and self.transmit.serve(&notify):
            turns += 1
        if turns == TURNS or self.transmit.not_before != until or self.transmit.fault != NULL:
            self.wake()
        unlock(&self.transmit.lock)
        return notify

    cdef bint answer_receive(self) noexcept nogil:
        cdef bint notify
        if not try_lock(&self.receive.lock):
            self.wake()
            return False
        notify = not self.closing and self.receive.drain()
        unlock(&self.receive.lock)
        return notify

    # --- any thread

    cdef void ready(self) noexcept nogil:
        flag_store(&self.transmit.may_go_on, True)
        self.wake()

    cdef void wake(self) noexcept nogil:
        cdef uint64_t one = 1
        write(self.wake_fd, &one, 8)


cdef bint answer_transmit(void *queue) noexcept nogil:
    return (<Queue>queue).answer_transmit()


cdef bint answer_receive(void *queue) noexcept nogil:
    return (<Queue>queue).answer_receive()


cdef bint answer_both(void *queue) noexcept nogil:
    return (<Queue>queue).answer_transmit() | (<Queue>queue).answer_receive()
