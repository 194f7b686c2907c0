"""The page a guest shares with the store, and what a guest can do with it."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given, strategies as st

from xenia.abi import xs_wire
from xenia.abi.xs_wire import MessageType, RingError
from xenia.rings.fault import RingFault
from xenia.rings.pipe import Reader
from xenia.xenstore.connection import Connection
from xenia.xenstore.guest_client import GuestClient
from xenia.xenstore.quota import Quota
from xenia.xenstore.ring import StoreRing
from xenia.xenstore.store import Store
from xenia.xenstore.wire import Need, Packet, Parser

index = st.one_of(st.integers(0, 0xFFFFFFFF), st.integers(0, 2048), st.integers(0xFFFFFC00, 0xFFFFFFFF))


class Frontend:
    """The guest's end of the page."""

    def __init__(self) -> None:
        self.page = bytearray(4096)
        self.parser = Parser()
        self.notified = 0

    def word(self, offset: int, value: int | None = None) -> int:
        if value is not None:
            struct.pack_into("<I", self.page, offset, value & 0xFFFFFFFF)
        (found,) = struct.unpack_from("<I", self.page, offset)
        return int(found)

    def put(self, data: bytes) -> int:
        """Send what there is room for."""
        cons, prod = self.word(xs_wire.REQ_CONS_OFFSET), self.word(xs_wire.REQ_PROD_OFFSET)
        count = min(len(data), 1024 - ((prod - cons) & 0xFFFFFFFF))
        for position in range(count):
            self.page[(prod + position) % 1024] = data[position]
        self.word(xs_wire.REQ_PROD_OFFSET, prod + count)
        return count

    def take(self) -> bytes:
        cons, prod = self.word(xs_wire.RSP_CONS_OFFSET), self.word(xs_wire.RSP_PROD_OFFSET)
        data = bytes(self.page[1024 + (cons + i) % 1024] for i in range((prod - cons) & 0xFFFFFFFF))
        self.word(xs_wire.RSP_CONS_OFFSET, prod)
        return data

    def replies(self) -> list[Packet]:
        self.parser.feed(self.take())
        found = []
        while not isinstance(packet := self.parser.poll(), Need):
            found.append(packet)
        return found

    def notify(self) -> None:
        self.notified += 1


@pytest.fixture
def frontend() -> Frontend:
    return Frontend()


@pytest.fixture
def guest(store: Store, frontend: Frontend) -> Iterator[GuestClient]:
    guest = GuestClient(store, Connection(0), memoryview(frontend.page), frontend.notify)
    yield guest
    guest.close()


def read(path: str, req_id: int = 1) -> bytes:
    return Packet(MessageType.READ, req_id, 0, path.encode() + b"\0").encode()


# --- The ring alone


@given(start=index, data=st.binary(max_size=1500))
def test_bytes_go_round_from_any_index(start: int, data: bytes) -> None:
    frontend = Frontend()
    for offset in range(xs_wire.REQ_CONS_OFFSET, xs_wire.RSP_PROD_OFFSET + 1, 4):
        frontend.word(offset, start)
    ring = StoreRing(memoryview(frontend.page))
    sent = frontend.put(data)
    assert sent == min(len(data), 1024)
    assert ring.requests.take() == data[:sent]
    assert ring.requests.take() == b""
    assert ring.responses.put(data) == sent
    assert ring.responses.put(b"x") == (1 if sent < 1024 else 0)
    assert frontend.take()[:sent] == data[:sent]


@given(cons=index, prod=index)
def test_any_indices_give_at_most_a_ring_of_bytes_or_a_fault(cons: int, prod: int) -> None:
    frontend = Frontend()
    for offset in (xs_wire.REQ_CONS_OFFSET, xs_wire.RSP_CONS_OFFSET):
        frontend.word(offset, cons)
    for offset in (xs_wire.REQ_PROD_OFFSET, xs_wire.RSP_PROD_OFFSET):
        frontend.word(offset, prod)
    ring = StoreRing(memoryview(frontend.page))
    before = bytes(frontend.page)
    if (prod - cons) % 2**32 > 1024:
        with pytest.raises(RingFault):
            ring.requests.take()
        with pytest.raises(RingFault):
            ring.responses.put(b"x")
        assert bytes(frontend.page) == before
    else:
        assert len(ring.requests.take()) == (prod - cons) % 2**32
        assert ring.responses.put(bytes(2000)) == 1024 - (prod - cons) % 2**32
        assert frontend.page[xs_wire.INTERFACE_SIZE :] == bytes(4096 - xs_wire.INTERFACE_SIZE)


# --- A guest behind it


def test_a_request_is_answered_and_the_guest_notified_once(guest: GuestClient, frontend: Frontend) -> None:
    frontend.put(read("/none", 1) + read("/none", 2))
    assert guest.service() is False
    assert [(reply.req_id, reply.payload) for reply in frontend.replies()] == [(1, b"ENOENT\0"), (2, b"ENOENT\0")]
    assert frontend.notified == 1
    guest.service()
    assert frontend.notified == 1


def test_a_request_may_come_byte_by_byte(guest: GuestClient, frontend: Frontend) -> None:
    for byte in read("/none"):
        frontend.put(bytes([byte]))
        guest.service()
    assert [reply.payload for reply in frontend.replies()] == [b"ENOENT\0"]


def test_messages_longer_than_the_ring_pass_through_it(guest: GuestClient, frontend: Frontend) -> None:
    value = bytes(range(1, 256)) * 15
    stream = Packet(MessageType.WRITE, 1, 0, b"/a\0" + value).encode() + read("/a", 2)
    replies: list[Packet] = []
    for _ in range(20):
        stream = stream[frontend.put(stream) :]
        guest.service()
        replies += frontend.replies()
    assert stream == b""
    assert [reply.payload for reply in replies] == [b"OK\0", value]


def test_events_follow_the_reply_that_caused_them(guest: GuestClient, frontend: Frontend) -> None:
    frontend.put(Packet(MessageType.WATCH, 1, 0, b"/a\0t\0").encode())
    frontend.put(Packet(MessageType.MKDIR, 2, 0, b"/a\0").encode())
    guest.service()
    kinds = [reply.type for reply in frontend.replies()]
    assert kinds == [MessageType.WATCH, MessageType.WATCH_EVENT, MessageType.MKDIR, MessageType.WATCH_EVENT]


def test_a_guest_that_takes_no_replies_is_not_read_from_any_more(guest: GuestClient, frontend: Frontend) -> None:
    stream = b"".join(read("/" + "n" * 100, number) for number in range(200))
    taken = 0
    for _ in range(50):
        taken += frontend.put(stream[taken:])
        guest.service()
    assert taken < len(stream)
    replies = frontend.replies()
    while taken < len(stream):
        guest.service()
        taken += frontend.put(stream[taken:])
        replies += frontend.replies()
    for _ in range(10):
        guest.service()
        replies += frontend.replies()
    assert [reply.req_id for reply in replies] == list(range(200))


def test_a_busy_guest_leaves_time_to_others(
    guest: GuestClient, frontend: Frontend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if another processor of the guest filled the ring again whenever it was emptied."""
    take = Reader.take

    def refilled(requests: Reader) -> bytes:
        frontend.take()
        frontend.put(read("/") * 50)
        return take(requests)

    monkeypatch.setattr(Reader, "take", refilled)
    assert guest.service() is True


@pytest.mark.parametrize("offset", [xs_wire.REQ_PROD_OFFSET, xs_wire.RSP_CONS_OFFSET])
def test_impossible_indices_end_the_service_with_a_word_in_the_page(
    guest: GuestClient, frontend: Frontend, caplog: pytest.LogCaptureFixture, offset: int
) -> None:
    frontend.put(read("/"))
    frontend.word(offset, 0x80000000)
    for _ in range(3):
        assert guest.service() is False
    assert frontend.word(xs_wire.ERROR_OFFSET) == RingError.RINGIDX
    assert len(caplog.records) == 1


def test_a_guest_that_breaks_the_protocol_again_and_again_is_complained_of_once(
    guest: GuestClient, frontend: Frontend, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(1000):
        frontend.word(xs_wire.REQ_PROD_OFFSET, 0x80000000)
        guest.service()
        frontend.word(xs_wire.CONNECTION_OFFSET, 1)
        guest.service()
    assert len([record for record in caplog.records if record.levelno > logging.DEBUG]) == 1


def test_an_overlong_message_ends_the_service(guest: GuestClient, frontend: Frontend) -> None:
    frontend.put(xs_wire.XSD_SOCKMSG.pack(MessageType.WRITE, 0, 0, 4097))
    guest.service()
    assert frontend.word(xs_wire.ERROR_OFFSET) == RingError.PROTO
    frontend.put(read("/"))
    guest.service()
    assert frontend.take() == b""


def test_a_guest_that_reconnects_begins_anew(guest: GuestClient, frontend: Frontend, store: Store) -> None:
    assert frontend.word(xs_wire.SERVER_FEATURES_OFFSET) == 3
    frontend.put(Packet(MessageType.WATCH, 1, 0, b"/\0t\0").encode() + read("/")[:-1])
    guest.service()
    frontend.word(xs_wire.REQ_PROD_OFFSET, 0x80000000)
    guest.service()
    frontend.word(xs_wire.CONNECTION_OFFSET, 1)
    notified = frontend.notified
    guest.service()
    assert frontend.notified > notified
    assert frontend.word(xs_wire.CONNECTION_OFFSET) == 0
    assert frontend.word(xs_wire.ERROR_OFFSET) == RingError.NONE
    assert store.watches.count() == {}
    frontend.put(read("/", 9))
    guest.service()
    assert [reply.req_id for reply in frontend.replies()] == [9]


@given(st.lists(st.one_of(st.binary(max_size=80), st.tuples(st.integers(512, 518), index)), max_size=12))
def test_whatever_a_guest_writes_into_its_page_nothing_but_its_service_suffers(
    scribbles: list[bytes | tuple[int, int]],
) -> None:
    store, frontend = Store(Quota()), Frontend()
    guest = GuestClient(store, store.introduce(5), memoryview(frontend.page), frontend.notify)
    for scribble in scribbles:
        if isinstance(scribble, bytes):
            frontend.page[: len(scribble)] = scribble
            frontend.word(xs_wire.REQ_PROD_OFFSET, frontend.word(xs_wire.REQ_CONS_OFFSET) + len(scribble))
        else:
            frontend.word(scribble[0] * 4, scribble[1])
        guest.service()
    assert store.check() == []
    guest.close()
