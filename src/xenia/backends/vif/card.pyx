"""A network card as its network sees it: at a port, with the queues that it has while its frontend is connected."""

from dataclasses import asdict

from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, malloc

from xenia.backends.vif.queue cimport Queue
from xenia.backends.vif.rate cimport Rate
from xenia.backends.vif.steering cimport Hash, Steering
from xenia.net.frame cimport BATCH, Frame
from xenia.net.port cimport Port, Receiver

from xenia.backends.vif.stats import VifStats

cdef enum:
    GROUP = 1                   # of an address' first byte: it is of several stations


cdef class Card:
    """What the queues of one card share, and what outlives them.

    port        where it is; it stays the caller's to close
    steering    which frames it is given, and on which queue; all, by their flows, where there is none
    rate        how fast it may send; without, as fast as it likes
    """

    def __init__(self, Port port not None, Steering steering = None, Rate rate = None) -> None:
        self.port = port
        self.steering = Steering() if steering is None else steering
        self.rate = Rate() if rate is None else rate
        self.queues = []
        self.past = asdict(VifStats())

    def __dealloc__(self):
        free(self.entries)

    def connect(self, queues: list[Queue]) -> None:
        """Be at the port, and give these what comes.  Precondition: not connected."""
        cdef Receiver receiver
        cdef Queue queue
        self.entries = <void **>malloc(max(len(queues), 1) * sizeof(void *))
        if self.entries == NULL:
            raise MemoryError
        self.queues = list(queues)
        self.nr_queues = 0
        for queue in self.queues:
            self.entries[self.nr_queues] = <void *>queue
            self.nr_queues += 1
        receiver.self, receiver.deliver, receiver.ready = <void *>self, card_deliver, card_ready
        with nogil:
            self.port.attach(&receiver)

    def disconnect(self) -> None:
        """Leave the port: no frame is being given to a queue any more.  Again does nothing.  Before the queues are
        stopped."""
        if self.entries == NULL:
            return
        with nogil:
            self.port.detach()
        free(self.entries)
        self.entries = NULL
        self.nr_queues = 0

    def forget(self) -> None:
        """Add the counts of its queues to those that remain, once they are closed."""
        self.past = {**self.counts, "no_carrier": self.past["no_carrier"]}      # the steering goes on counting
        self.queues = []

    def go_on(self, counts: dict[str, int]) -> None:
        """Count from there on.  Precondition: it was not connected yet."""
        self.past = {name: counts.get(name, 0) for name in self.past}

    @property
    def counts(self) -> dict[str, int]:
        """Those of VifStats, since the card was made."""
        counts = dict(self.past)
        counts["no_carrier"] += self.steering.swallowed
        for queue in self.queues:
            for name, value in queue.counts.items():
                counts[name] += value
        return counts

    # --- From the network, on any thread

    cdef void deliver(self, Frame *frames, int count) noexcept nogil:
        # Those that go to one queue, one after the other, are given to it at once.
        cdef Hash hashes[BATCH]
        cdef uint8_t *address
        cdef uint32_t number, to = 0
        cdef int index, first = 0
        if self.steering.swallows(count):
            return
        for index in range(count):
            address = <uint8_t *>frames[index].parts[0].iov_base
            if address[0] & GROUP and not self.steering.wants(address):
                self.give(to, frames, hashes, first, index, 1)
                first = index + 1
                continue
            number = self.steering.queue_of(&frames[index], self.nr_queues, &hashes[index])
            if number != to:
                self.give(to, frames, hashes, first, index, 0)
                first = index
                to = number
        self.give(to, frames, hashes, first, count, 0)

    cdef void give(self, uint32_t queue, Frame *frames, Hash *hashes, int first, int end, int filtered) noexcept nogil:
        if first < end or filtered:
            (<Queue>self.entries[queue]).receive.deliver(&frames[first], &hashes[first], end - first, filtered)

    cdef void ready(self) noexcept nogil:
        cdef int index
        for index in range(self.nr_queues):
            (<Queue>self.entries[index]).ready()


cdef void card_deliver(void *card, Frame *frames, int count) noexcept nogil:
    (<Card>card).deliver(frames, count)


cdef void card_ready(void *card) noexcept nogil:
    (<Card>card).ready()
