"""A shared folder between a frontend in memory and a file server in this process."""

from __future__ import annotations

import gc
import os
import socket
import struct
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.unit.backends.p9.frontend import IN_CONS, IN_PROD, OUT_PROD, REFS, Guest, Ring
from tests.unit.p9.peer import ATTACH, CLUNK, FLUSH, GETATTR, LCREATE, NO_FID, READ, VERSION, WALK, WRITE, message, text
from xenia.backends.p9.device import P9
from xenia.backends.p9.persist import P9State
from xenia.backends.p9.ring import DataRing
from xenia.foreign.fault import FrontendFault
from xenia.machine.loop import Loop
from xenia.p9.session import Session
from xenia.p9.stream import Stream
from xenia.persist import decode, encode
from xenia.testing.foreign import MemoryGuest
from xenia.testing.idler import Idler


class Server:
    """Serves a folder in this process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._streams: list[Stream] = []
        self._threads: list[threading.Thread] = []

    def session(self, streams: int) -> list[socket.socket]:
        folder = os.open(self._folder, os.O_RDONLY)
        session = Session(folder, False, 100, 50)
        os.close(folder)
        ends = []
        for _ in range(streams):
            theirs, ours = socket.socketpair()
            ends.append(theirs)
            self._streams.append(Stream(session, ours))
            self._threads.append(threading.Thread(target=self._streams[-1].serve))
            self._threads[-1].start()
        return ends

    def close(self) -> None:
        for stream in self._streams:
            stream.close()
        for thread in self._threads:
            thread.join()


@pytest.fixture(autouse=True)
def none_goes_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The devices of a test that fails let go, too: their threads would take what is others' by then, by its number."""
    devices, serve = weakref.WeakSet[P9](), P9._serve

    def serve_for_now(device: P9, *args: Any) -> None:
        devices.add(device)
        serve(device, *args)

    monkeypatch.setattr(P9, "_serve", serve_for_now)
    yield
    for device in list(devices):
        device.disconnect()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with closing(Server(tmp_path)) as made:
        yield made


def _begin(ring: Ring, msize: int = 8192) -> None:
    assert ring.ask(VERSION, struct.pack("<I", msize) + text("9P2000.L"), 0xFFFF)[0] == VERSION + 1
    said = struct.pack("<II", 0, NO_FID) + text("") + text("") + struct.pack("<I", 0)
    assert ring.ask(ATTACH, said)[0] == ATTACH + 1


@pytest.mark.parametrize("listens", [False, True], ids=["by events", "on the guest's thread"])
def test_messages_go_to_the_server_and_answers_back_around_the_ring(
    server: Server, tmp_path: Path, listens: bool
) -> None:
    with closing(Guest(listens=listens)) as guest:
        device = P9(server)
        device.connect(guest.frontend())
        one, two = guest.rings
        _begin(one)
        one.ask(WALK, struct.pack("<IIH", 0, 5, 0))
        assert (
            one.ask(LCREATE, struct.pack("<I", 5) + text("file") + struct.pack("<III", 2, 0o644, 0))[0] == LCREATE + 1
        )
        for number in range(30):  # several times around rings of 16 KB
            data = bytes([number]) * 7000
            assert two.ask(WRITE, struct.pack("<IQI", 5, 0, len(data)) + data)[0] == WRITE + 1
            assert one.ask(READ, struct.pack("<IQI", 5, 0, 7000))[2][4:] == data
        assert (tmp_path / "file").read_bytes() == data
        assert device.stats.answers >= 60
        device.disconnect()
        guest.assert_let_go()


@pytest.mark.parametrize("listens", [False, True], ids=["by events", "on the guest's thread"])
def test_what_a_guest_asked_before_its_rings_were_served_is_answered(server: Server, listens: bool) -> None:
    with closing(Guest(listens=listens)) as guest:
        frontend = guest.frontend()
        body = struct.pack("<I", 8192) + text("9P2000.L")
        for ring in guest.rings:
            ring.put(message(VERSION, 0xFFFF, body))
            os.read(ring.port.to_backend, 8)  # the event is gone
        device = P9(server)
        device.connect(frontend)
        for ring in guest.rings:
            assert ring.take()[0] == VERSION + 1
        device.disconnect()
        guest.assert_let_go()


def test_a_frontend_that_begins_anew_has_nothing_of_the_one_before(server: Server) -> None:
    device = P9(server)
    for _ in range(3):
        with closing(Guest()) as guest:
            device.connect(guest.frontend())
            ring = guest.rings[0]
            _begin(ring)
            assert ring.ask(WALK, struct.pack("<IIH", 0, 5, 0))[0] == WALK + 1  # a fid that is free each time
            ring.put(message(GETATTR, 1, b"")[:5])  # and half a message, which is nobody's
            device.disconnect()
            guest.assert_let_go()


def test_a_device_that_was_suspended_goes_on_with_what_it_held(server: Server) -> None:
    with closing(Guest()) as guest:
        device = P9(server)
        device.connect(guest.frontend())
        ring = guest.rings[0]
        _begin(ring)
        ring.ask(WALK, struct.pack("<IIH", 0, 5, 0))
        device.suspend()
        guest.assert_let_go()
        ring.put(message(CLUNK, 9, struct.pack("<I", 5)))
        again = P9.restore(server, device.save(), device.left())
        again.resume(guest.frontend())
        assert ring.take() == (CLUNK + 1, 9, b"")
        again.disconnect()
        guest.assert_let_go()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"version": "2"}, "version 2"),
        ({"num_rings": "0"}, "no rings"),
        ({"num_rings": "5"}, "not a number up to 4"),
        ({"ring_ref0": "999"}, "not granted"),
        ({"event_channel_1": "77"}, "not unbound"),
        ({"event_channel_1": "1", "event_channel_0": "1"}, "the same page or port"),
    ],
)
def test_what_a_frontend_publishes_is_checked(server: Server, said: dict[str, str], why: str) -> None:
    with closing(Guest()) as guest:
        with pytest.raises(FrontendFault, match=why):
            P9(server).connect(guest.frontend(**said))
        guest.assert_let_go()


def test_a_rings_head_that_cannot_be_is_refused(server: Server) -> None:
    for order, refs in ((0, None), (10, None), (31, None), (0xFFFFFFFF, None), (3, 4)):
        with closing(Guest()) as guest:
            guest.rings[0].set(128, order)
            if refs is not None:
                guest.rings[0].set(REFS + 4, refs)
            with pytest.raises(FrontendFault):
                P9(server).connect(guest.frontend())
            guest.assert_let_go()


@pytest.mark.parametrize(
    ("place", "value", "why"),
    [
        (OUT_PROD, 1 << 20, "further than its ring is long"),
        (IN_CONS, 0x80000000, "more answers than there were"),
    ],
)
def test_indices_that_cannot_be_end_the_device_and_no_more(server: Server, place: int, value: int, why: str) -> None:
    with closing(Guest()) as guest:
        told = threading.Event()
        reasons: list[str] = []
        device = P9(server)

        def tell(reason: str) -> None:
            reasons.append(reason)
            told.set()

        device.on_fault(tell)
        device.connect(guest.frontend())
        _begin(guest.rings[0])
        guest.rings[0].set(place, value)
        guest.rings[0].port.notify()
        assert told.wait(20)
        assert why in reasons[0]
        assert why in device.fault
        device.disconnect()
        guest.assert_let_go()


@pytest.mark.parametrize("_again", range(3))  # the loop rests for half a millisecond only: once may be too late
def test_what_the_guests_thread_finds_is_told_while_the_loop_leaves_the_rings_to_idle_vcpus(
    server: Server, _again: int
) -> None:
    told = threading.Event()
    with closing(Guest(listens=True)) as guest, closing(Idler()) as idler:
        device = P9(server)
        device.on_fault(lambda why: told.set())
        device.connect(guest.frontend())
        ring = guest.rings[0]
        _begin(ring)
        assert device._rings is not None
        loop = device._rings._loop
        assert idler.lend(loop)
        idler.sleep(0)  # the loop rests once it has served what this one would have
        ring.ask(GETATTR, struct.pack("<IQ", 0, 0x7FF))
        ring.set(OUT_PROD, ring.index(OUT_PROD) + (1 << 20))
        ring.port.notify()
        assert told.wait(10)
        assert idler.take_back(loop)
        device.disconnect()
        guest.assert_let_go()


def test_a_device_that_is_let_go_needs_no_collector(server: Server) -> None:
    gc.disable()
    try:
        with closing(Guest()) as guest:
            device = P9(server)
            device.connect(guest.frontend())
            _begin(guest.rings[0])
            device.disconnect()
        gone = weakref.ref(device)
        del device
        assert gone() is None
    finally:
        gc.enable()


def test_a_message_that_cannot_be_ends_the_session(server: Server) -> None:
    with closing(Guest()) as guest:
        told = threading.Event()
        device = P9(server)
        device.on_fault(lambda _: told.set())
        device.connect(guest.frontend())
        guest.rings[1].put(struct.pack("<IBH", 0xFFFFFFF0, VERSION, 0))
        assert told.wait(20)
        assert "a request cannot be" in device.fault
        device.disconnect()
        guest.assert_let_go()


def test_an_answer_larger_than_the_ring_is_the_guests_own_doing(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(60000))
    with closing(Guest(order=1)) as guest:
        told = threading.Event()
        device = P9(server)
        device.on_fault(lambda _: told.set())
        device.connect(guest.frontend())
        ring = guest.rings[0]
        _begin(ring, 65536)
        ring.ask(WALK, struct.pack("<IIH", 0, 5, 1) + text("file"))
        ring.ask(12, struct.pack("<II", 5, 0))
        ring.put(message(READ, 1, struct.pack("<IQI", 5, 0, 50000)))
        assert told.wait(20)
        assert "does not fit" in device.fault
        device.disconnect()


class Ends:
    """A server that says what the test says, at the other ends of a mount's connections."""

    def __init__(self) -> None:
        self.ends: list[socket.socket] = []

    def session(self, streams: int) -> list[socket.socket]:
        pairs = [socket.socketpair() for _ in range(streams)]
        self.ends = [ours for _, ours in pairs]
        for end in self.ends:
            end.settimeout(20)
        return [theirs for theirs, _ in pairs]

    def close(self) -> None:
        for end in self.ends:
            end.close()

    def takes(self, stream: int) -> tuple[int, int, bytes]:
        """Kind, tag and body of the next request."""
        size, kind, tag = struct.unpack("<IBH", self.ends[stream].recv(7, socket.MSG_WAITALL))
        return kind, tag, self.ends[stream].recv(size - 7, socket.MSG_WAITALL) if size > 7 else b""


@pytest.mark.parametrize("listens", [False, True], ids=["by events", "on the guest's thread"])
def test_a_request_is_called_off_by_another_ring_after_its_own_answer_was_taken(listens: bool) -> None:
    with closing(Ends()) as server, closing(Guest(listens=listens)) as guest:
        device = P9(server)
        device.connect(guest.frontend())
        one, two = guest.rings
        request = message(READ, 7, bytes(16))
        one.requests[: len(request)] = request
        one.set(OUT_PROD, len(request))  # and the backend is not told yet
        two.put(message(FLUSH, 8, struct.pack("<H", 7)))
        two.put(message(GETATTR, 9, bytes(12)))  # what comes after it is not held up
        assert server.takes(1)[:2] == (GETATTR, 9)
        one.port.notify()
        assert server.takes(0)[:2] == (READ, 7)
        two.put(message(GETATTR, 10, bytes(12)))
        assert server.takes(1)[:2] == (GETATTR, 10)
        server.ends[0].sendall(message(READ + 1, 7, bytes(4)))
        while one.index(IN_PROD) == 0:
            assert one.port.wait(20)
        two.put(message(GETATTR, 11, bytes(12)))
        assert server.takes(1)[:2] == (GETATTR, 11)
        assert one.take()[:2] == (READ + 1, 7)
        assert server.takes(1) == (FLUSH, 8, struct.pack("<H", 7))
        server.ends[1].sendall(message(FLUSH + 1, 8, b""))
        assert two.take() == (FLUSH + 1, 8, b"")
        # What it has itself, and what nobody has, is the server's to know at once.
        two.put(message(READ, 12, bytes(16)) + message(FLUSH, 13, struct.pack("<H", 12)))
        assert [server.takes(1)[1] for _ in range(2)] == [12, 13]
        two.put(message(FLUSH, 14, struct.pack("<H", 999)))
        assert server.takes(1)[:2] == (FLUSH, 14)
        device.disconnect()
        guest.assert_let_go()


def test_a_device_that_was_suspended_goes_on_with_what_calls_off_a_request() -> None:
    with closing(Ends()) as server, closing(Guest()) as guest:
        device = P9(server)
        device.connect(guest.frontend())
        one, two = guest.rings
        one.put(message(READ, 7, bytes(16)))
        assert server.takes(0)[:2] == (READ, 7)
        for number in range(100):  # more than are held: the others wait in the ring
            two.put(message(FLUSH, 100 + number, struct.pack("<H", 7)))
        device.suspend()
        state = decode(P9State, encode(device.save()))
        assert state.rings[0].asked == (7,)
        again = P9.restore(server, state, device.left())
        again.resume(guest.frontend())
        server.ends[0].sendall(message(READ + 1, 7, bytes(4)))
        assert one.take()[:2] == (READ + 1, 7)
        assert sorted(server.takes(1)[1] for _ in range(100)) == list(range(100, 200))
        again.disconnect()
        guest.assert_let_go()


def test_a_guest_that_takes_no_answers_holds_up_nobody_but_itself(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(60000))
    with closing(Guest(order=1)) as guest:
        device = P9(server)
        device.connect(guest.frontend())
        one, two = guest.rings
        _begin(one, 4096)
        one.ask(WALK, struct.pack("<IIH", 0, 5, 1) + text("file"))
        one.ask(12, struct.pack("<II", 5, 0))
        for tag in range(60):
            one.put(message(READ, tag, struct.pack("<IQI", 5, 0, 3000)))
        assert two.ask(GETATTR, struct.pack("<IQ", 5, 0x7FF))[0] == GETATTR + 1
        assert sorted(one.take()[1] for _ in range(60)) == list(range(60))
        device.disconnect()
        guest.assert_let_go()


def _sleeps(name: str) -> int:
    """How often the thread of that name has waited for something."""
    (number,) = (thread.native_id for thread in threading.enumerate() if thread.name == name)
    status = Path(f"/proc/self/task/{number}/status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


def test_a_guest_that_takes_no_answers_of_a_server_that_has_gone_keeps_no_processor(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(bytes(4000))
    with closing(Guest(nr_rings=1, order=1)) as guest:
        told = threading.Event()
        device = P9(server)
        device.on_fault(lambda _: told.set())
        device.connect(guest.frontend())
        (ring,) = guest.rings
        _begin(ring, 4096)
        ring.ask(WALK, struct.pack("<IIH", 0, 5, 1) + text("file"))
        ring.ask(12, struct.pack("<II", 5, 0))
        full, until = device.stats.answer_bytes + ring.size, time.monotonic() + 20
        ring.put(b"".join(message(READ, tag, struct.pack("<IQI", 5, 0, 3000)) for tag in range(10)))
        while device.stats.answer_bytes < full and time.monotonic() < until:
            ring.port.wait(0.01)
        server.close()
        before, until = _sleeps("9pfs rings"), time.monotonic() + 20
        while _sleeps("9pfs rings") < before + 20:
            assert not told.wait(0.01)
            assert time.monotonic() < until
        for _ in range(10):
            if not told.is_set():
                ring.take()
        assert told.wait(20)
        assert "ended the session" in device.fault
        device.disconnect()
        guest.assert_let_go()


def test_a_guest_that_goes_on_asking_has_a_megabyte_taken_and_no_more() -> None:
    """Another vcpu has put the next requests there before these have gone, as often as anybody takes some."""
    half, most = 1 << 18, 16
    page, data = bytearray(4096), bytearray(4 * half)
    theirs, ours = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)  # of which each part is more: it waits for who reads

    def ask_on() -> None:
        taken = 0
        while read := theirs.recv(16384):
            taken += len(read)
            struct.pack_into("<I", page, OUT_PROD, min(taken // half + 2, most) * half)

    struct.pack_into("<I", page, OUT_PROD, half)
    thread = threading.Thread(target=ask_on)
    with closing(MemoryGuest(1, listens=True)) as guest, theirs, ours:
        port, event = guest.open_port(), os.eventfd(0)
        ring = DataRing(
            guest.frames, page, data, port=port.number, event_fd=event, socket=ours.fileno(), on_fault=pytest.fail
        )
        thread.start()
        ring.start()
        taken = ring.fault, ring.stats[1]
        ring.stop()
        ring.close()
        os.close(event)
        ours.shutdown(socket.SHUT_WR)
        thread.join()
        assert taken == ("", 1 << 20)


def test_a_server_that_goes_on_answering_has_a_megabyte_taken_before_others_are_served(tmp_path: Path) -> None:
    """A file is a server that always has more to say; the other ring's fault is told after the loop's first round."""
    (tmp_path / "server").write_bytes(768 * message(READ + 1, 7, bytes(4096 - 7)))
    taken: list[tuple[str, int]] = []
    with closing(MemoryGuest(1)) as guest, closing(Loop()) as loop, open(tmp_path / "server", "rb") as server:

        def end(why: str) -> None:
            taken.append((why, rings[0].stats[3]))
            loop.stop()

        pages = [bytearray(4096), bytearray(4096)]
        events = [os.eventfd(0), os.eventfd(0)]
        rings = [
            DataRing(
                guest.frames, page, bytearray(2 * half), port=guest.open_port().number, event_fd=event,
                socket=server.fileno(), on_fault=end,
            )
            for page, half, event in zip(pages, (1 << 22, 8192), events, strict=True)
        ]  # fmt: skip
        struct.pack_into("<I", pages[1], OUT_PROD, 1 << 20)
        for ring in rings:
            loop.add(ring)
        loop.run()
        for ring, event in zip(rings, events, strict=True):
            loop.remove(ring)
            ring.close()
            os.close(event)
    assert taken == [("the frontend's requests are further than its ring is long", 1 << 20)]
