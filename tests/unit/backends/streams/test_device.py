"""The rings of a command's streams, with a guest in memory at their other end."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from xenia.backends.streams.device import Streams
from xenia.backends.streams.ring import ERR, IN, NR_RINGS, OUT, PAGE_SIZE, RING_PAGES, RING_SIZE
from xenia.foreign.fault import FrontendFault
from xenia.testing.foreign import MemoryForeign, MemoryGuest
from xenia.toolstack.attach.terminal import Output

PATIENCE = 60.0
PROD, CONS, PROD_EVENT, CONS_EVENT = range(4)


class Agent:
    """The guest's end of the rings."""

    def __init__(self, guest: MemoryGuest) -> None:
        self.first = guest.share()
        self.pages = guest.share(NR_RINGS * RING_PAGES)
        self.port = guest.open_port()
        self.words = self.first.memory.cast("I")
        for index, ref in enumerate(self.pages.refs):
            self.words[NR_RINGS * 4 + 1 + index] = ref

    def word(self, ring: int, which: int) -> int:
        return self.words[ring * 4 + which]

    def set(self, ring: int, which: int, value: int) -> None:
        self.words[ring * 4 + which] = value & 0xFFFFFFFF

    def write(self, ring: int, data: bytes) -> None:
        """Write to the host, waiting for room as the agent does."""
        rest = memoryview(data)
        while rest:
            prod = self.word(ring, PROD)
            room = RING_SIZE - ((prod - self.word(ring, CONS)) & 0xFFFFFFFF)
            if not room:
                self.set(ring, CONS_EVENT, prod - RING_SIZE // 2)
                if self.word(ring, CONS) == (prod - RING_SIZE) & 0xFFFFFFFF:
                    assert self.port.wait(PATIENCE)
                continue
            at = prod % RING_SIZE
            count = min(room, len(rest), RING_SIZE - at)
            start = ring * RING_SIZE + at
            self.pages.memory[start : start + count] = rest[:count]
            self.set(ring, PROD, prod + count)
            self.port.notify()
            rest = rest[count:]

    def read(self, most: int = RING_SIZE) -> bytes:
        """Some of the input, waiting for it; b"" at its end."""
        while True:
            cons = self.word(IN, CONS)
            ended = self.words[NR_RINGS * 4]
            used = (self.word(IN, PROD) - cons) & 0xFFFFFFFF
            if used:
                at = cons % RING_SIZE
                count = min(used, most, RING_SIZE - at)
                data = bytes(self.pages.memory[IN * RING_SIZE + at : IN * RING_SIZE + at + count])
                self.set(IN, CONS, cons + count)
                self.port.notify()
                return data
            if ended:
                return b""
            self.set(IN, PROD_EVENT, cons + 1)
            if self.word(IN, PROD) == cons and not self.words[NR_RINGS * 4]:
                assert self.port.wait(PATIENCE)


class Host:
    """The host's descriptors, and the streams between them and the guest."""

    def __init__(self, directory: Path) -> None:
        self.guest = MemoryGuest(7, nr_pages=512)
        self.agent = Agent(self.guest)
        self.stdin = os.pipe()
        self.out, self.err = directory / "out", directory / "err"
        self._files = [os.open(path, os.O_WRONLY | os.O_CREAT) for path in (self.out, self.err)]
        self.output, self.errors = map(Output, self._files)
        self.ended = threading.Event()
        self.streams: Streams | None = None

    def serve(self, output: Output | None = None) -> Streams:
        agent = self.agent
        self.streams = Streams(
            MemoryForeign(self.guest), agent.port.number, agent.first.refs[0], self.stdin[0],
            output or self.output, self.errors, self.ended.set,
        )  # fmt: skip
        return self.streams

    def close(self) -> None:
        if self.streams is not None:
            self.streams.close()
        self.guest.assert_let_go()
        for output in (self.output, self.errors):
            output.close()
        for descriptor in (*self.stdin, *self._files):
            try:
                os.close(descriptor)
            except OSError:
                continue  # the test closed it


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.close()


def test_what_the_guest_writes_arrives_in_order_and_apart(host: Host) -> None:
    data = Random(1).randbytes(5 * RING_SIZE + 12345)
    streams = host.serve()
    for at in range(0, len(data), 100_000):
        host.agent.write(OUT, data[at : at + 100_000])
        host.agent.write(ERR, b"%d\n" % at)
    streams.drain()
    assert host.ended.is_set()
    assert host.out.read_bytes() == data
    assert host.err.read_bytes() == b"".join(b"%d\n" % at for at in range(0, len(data), 100_000))
    assert streams.stats.output_bytes == len(data) + len(host.err.read_bytes())
    assert host.guest.charged > 0  # its thread's time is the domain's


def test_input_arrives_to_its_end_however_the_guest_reads_it(host: Host) -> None:
    data = Random(2).randbytes(3 * RING_SIZE + 777)
    host.serve()

    def write() -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(host.stdin[1], rest) :]
        os.close(host.stdin[1])

    writer = threading.Thread(target=write)
    writer.start()
    random, received = Random(3), b""
    while part := host.agent.read(random.choice((1, 4096, RING_SIZE))):
        received += part
    writer.join()
    assert received == data


def test_indices_go_round_at_the_end_of_their_32_bits(host: Host) -> None:
    for which in (PROD, CONS):
        host.agent.set(OUT, which, 0)
    streams = host.serve()
    ring = streams._outputs[0][0]
    ring._own = (1 << 32) - 1000
    host.agent.set(OUT, CONS, -1000)
    host.agent.set(OUT, PROD, -1000)
    data = Random(4).randbytes(2 * RING_SIZE)
    host.agent.write(OUT, data)
    streams.drain()
    assert host.out.read_bytes() == data


def test_a_reader_that_takes_nothing_holds_the_guest_up_and_nothing_is_kept_here(host: Host) -> None:
    read_fd, write_fd = os.pipe()
    output = Output(write_fd)
    streams = host.serve(output)
    data = Random(5).randbytes(4 * RING_SIZE)
    guest = threading.Thread(target=host.agent.write, args=(OUT, data), daemon=True)
    guest.start()
    first = os.read(read_fd, 1)
    assert guest.is_alive()
    assert (host.agent.word(OUT, PROD) - host.agent.word(OUT, CONS)) & 0xFFFFFFFF <= RING_SIZE
    received = bytearray(first)

    def drain() -> None:
        guest.join()
        streams.drain()
        output.close()
        os.close(write_fd)

    drained = threading.Thread(target=drain)
    drained.start()
    while part := os.read(read_fd, 1 << 20):
        received += part
    drained.join()
    os.close(read_fd)
    assert received == data


def test_a_reader_that_takes_nothing_does_not_keep_the_streams_from_closing(host: Host) -> None:
    read_fd, write_fd = os.pipe()
    output = Output(write_fd)
    streams = host.serve(output)
    host.agent.write(OUT, bytes(RING_SIZE))
    assert os.read(read_fd, 1) == b"\0"
    streams.finish()
    streams.close()
    assert host.ended.is_set()
    output.close()
    for descriptor in (read_fd, write_fd):
        os.close(descriptor)


def test_a_slow_output_does_not_hold_up_the_other(host: Host) -> None:
    read_fd, write_fd = os.pipe()
    output = Output(write_fd)
    host.serve(output)
    host.agent.write(OUT, bytes(RING_SIZE))
    host.agent.write(ERR, bytes(3 * RING_SIZE))  # goes on only as it is taken
    assert os.read(read_fd, 1) == b"\0"
    assert host.streams is not None
    host.streams.close()
    output.close()
    for descriptor in (read_fd, write_fd):
        os.close(descriptor)


@pytest.mark.parametrize(("ring", "which"), [(OUT, PROD), (ERR, PROD), (IN, CONS)])
@pytest.mark.parametrize("index", [RING_SIZE + 1, 1 << 31, (1 << 32) - RING_SIZE - 1])
def test_an_index_that_cannot_be_ends_the_service_and_nothing_else(
    host: Host, ring: int, which: int, index: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.agent.set(ring, which, index)
    told = threading.Event()
    monkeypatch.setattr(Streams, "_faulted", lambda _: told.set())
    streams = host.serve()
    assert told.wait(10)
    streams.drain()
    assert host.ended.is_set()
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "the command's streams are not served any more"
    ]
    assert host.out.read_bytes() == host.err.read_bytes() == b""


def test_references_that_are_not_granted_are_the_guests_fault_and_leave_nothing_behind(host: Host) -> None:
    host.agent.words[NR_RINGS * 4 + 1 + 100] = 0xFFFFFFFF
    with pytest.raises(FrontendFault):
        host.serve()
    host.guest.assert_let_go()


def test_a_port_that_is_not_open_is_the_guests_fault_and_leaves_nothing_behind(host: Host) -> None:
    with pytest.raises(FrontendFault):
        Streams(
            MemoryForeign(host.guest), 99, host.agent.first.refs[0], host.stdin[0], host.output, host.errors,
            host.ended.set,
        )  # fmt: skip
    host.guest.assert_let_go()


def test_a_guest_that_writes_whatever_it_likes_raises_nothing(host: Host) -> None:
    random = Random(6)
    streams = host.serve()
    for _ in range(3000):
        word = random.randrange(NR_RINGS * 4 + 1)
        host.agent.words[word] = random.choice((0, 1, RING_SIZE, random.getrandbits(18), random.getrandbits(32)))
        host.agent.port.notify()
    streams.drain()
    assert PAGE_SIZE * RING_PAGES == RING_SIZE
