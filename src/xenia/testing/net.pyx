"""Both sides of a port, for tests: a card that is at one, and a network that lies behind one."""

from collections.abc import Iterable
from threading import Condition

from libc.stdint cimport int64_t
from libc.string cimport memset
from xenia.net.frame cimport BATCH, HEAD, MOST_BYTES, MOST_PARTS, Frame, iovec
from xenia.machine.loop cimport monotonic
from xenia.net.port cimport Port, Receiver

from xenia.testing.packet import Packet


cdef object packet_of(const Frame *frame):
    cdef bytearray data = bytearray()
    cdef unsigned int part
    for part in range(frame.nr_parts):
        data += (<const char *>frame.parts[part].iov_base)[:frame.parts[part].iov_len]
    assert len(data) == frame.length and frame.nr_parts <= MOST_PARTS and frame.length <= MOST_BYTES
    assert frame.nr_parts and frame.parts[0].iov_len >= min(frame.length, HEAD)
    header = frame.header
    return Packet(bytes(data), header.flags, header.gso_type, header.hdr_len, header.gso_size, header.csum_start,
                  header.csum_offset)


cdef class Batch:
    """Packets as frames, each in two parts where it is longer than HEAD."""

    def __init__(self, packets: Iterable[Packet | bytes]) -> None:
        cdef Frame *frame
        cdef iovec *parts
        cdef const char *data
        self.held = [packet if isinstance(packet, Packet) else Packet(packet) for packet in packets]
        assert len(self.held) <= BATCH
        memset(self.frames, 0, sizeof(self.frames))
        for packet in self.held:
            frame, parts = &self.frames[self.count], &self.parts[2 * self.count]
            data = <bytes>packet.data
            frame.length = len(packet.data)
            frame.nr_parts = 2 if frame.length > HEAD else 1
            frame.parts = parts
            parts[0].iov_base = <void *>data
            parts[0].iov_len = min(frame.length, HEAD)
            parts[1].iov_base = <void *>(data + parts[0].iov_len)
            parts[1].iov_len = frame.length - parts[0].iov_len
            frame.header.flags, frame.header.gso_type = packet.flags, packet.gso_type
            frame.header.hdr_len, frame.header.gso_size = packet.hdr_len, packet.gso_size
            frame.header.csum_start, frame.header.csum_offset = packet.csum_start, packet.csum_offset
            self.count += 1


cdef class Card:
    """Is at `port`, as a guest's card is: sends packets, and keeps what it is given."""

    cdef Port port
    cdef object changed
    cdef list _received
    cdef int _ready
    cdef public bint deaf           # what comes is gone, at no cost

    def __init__(self, Port port) -> None:
        cdef Receiver receiver
        self.port = port
        self.changed = Condition()
        self._received = []
        receiver.self, receiver.deliver, receiver.ready = <void *>self, card_deliver, card_ready
        port.attach(&receiver)

    def send(self, *packets: Packet | bytes) -> int:
        """Send them, BATCH at the most; how many were taken."""
        cdef Batch batch = Batch(packets)
        cdef int taken
        with nogil:
            taken = self.port.send(batch.frames, batch.count)
        return taken

    def measure(self, int rounds, *packets: Packet | bytes) -> float:
        """Nanoseconds that sending one of these frames takes, of so many rounds with all of them."""
        cdef Batch batch = Batch(packets)
        cdef int64_t began = monotonic()
        cdef int _
        with nogil:
            for _ in range(rounds):
                self.port.send(batch.frames, batch.count)
        return <double>(monotonic() - began) / (rounds * batch.count)

    @property
    def received(self) -> list[Packet]:
        """What came, since this was asked last."""
        with self.changed:
            received, self._received = self._received, []
        return received

    @property
    def nr_ready(self) -> int:
        """How often it was told that it may send again."""
        return self._ready

    def wait(self, count: int = 1, timeout: float = 10) -> list[Packet]:
        """What came, as soon as it is so many; fewer after so many seconds."""
        with self.changed:
            self.changed.wait_for(lambda: len(self._received) >= count, timeout)
        return self.received

    def close(self) -> None:
        """Leave the port."""
        with nogil:
            self.port.detach()

    cdef take(self, Frame *frames, int count):
        cdef int index
        packets = [packet_of(&frames[index]) for index in range(count)]
        with self.changed:
            self._received += packets
            self.changed.notify_all()


cdef void card_deliver(void *card, Frame *frames, int count) noexcept nogil:
    if not (<Card>card).deaf:
        card_take(card, frames, count)


cdef void card_take(void *card, Frame *frames, int count) noexcept with gil:
    (<Card>card).take(frames, count)


cdef void card_ready(void *card) noexcept with gil:
    (<Card>card)._ready += 1


cdef class Behind(Port):
    """A port with a test behind it: what is sent into it is kept, and what `come` is given comes out of it.

    room   how many frames it still takes; None: all
    """

    cdef public object room
    cdef list _sent

    def __init__(self, room: int | None = None) -> None:
        self.room = room
        self._sent = []

    @property
    def sent(self) -> list[Packet]:
        """What was sent into it, since this was asked last."""
        sent, self._sent = self._sent, []
        return sent

    def come(self, *packets: Packet | bytes) -> None:
        """Deliver them, BATCH at the most, to whoever is at the port."""
        cdef Batch batch = Batch(packets)
        with nogil:
            self.deliver(batch.frames, batch.count)

    def measure(self, int rounds, *packets: Packet | bytes) -> float:
        """Nanoseconds that delivering one of these frames takes, of so many rounds with all of them."""
        cdef Batch batch = Batch(packets)
        cdef int64_t began = monotonic()
        cdef int _
        with nogil:
            for _ in range(rounds):
                self.deliver(batch.frames, batch.count)
        return <double>(monotonic() - began) / (rounds * batch.count)

    def make_room(self, room: int | None) -> None:
        """Take so many more, and say so."""
        self.room = room
        with nogil:
            self.ready()

    cdef int send(self, Frame *frames, int count) noexcept nogil:
        with gil:
            return self.keep(frames, count)

    cdef int keep(self, Frame *frames, int count):
        cdef int index
        if self.room is not None:
            count = min(count, self.room)
            self.room -= count
        for index in range(count):
            self._sent.append(packet_of(&frames[index]))
        return count
