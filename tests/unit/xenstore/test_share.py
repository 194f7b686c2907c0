"""No domain keeps the store from another, nor from the toolstack, however much it asks."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.unit.xenstore.test_server import GuestEnd
from xenia.abi import xs_wire
from xenia.abi.xs_wire import MessageType
from xenia.testing.foreign import PageForeign
from xenia.xenstore.error import StoreError
from xenia.xenstore.path import domain_path
from xenia.xenstore.permissions import Permissions
from xenia.xenstore.server import Server
from xenia.xenstore.share import Share
from xenia.xenstore.store import Store
from xenia.xenstore.wire import Packet

REQUEST = Packet(MessageType.DIRECTORY, 0, 0, b"children\0").encode()


class Flood:
    """A guest that takes its replies and fills its ring with requests whenever it hears from the server."""

    def __init__(self, domid: int) -> None:
        self.page = bytearray(4096)
        self.event_fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.replies = 0
        self.foreign = PageForeign(self.page, self.event_fd, self.notify, domid)
        self.notify()

    def notify(self) -> None:
        cons, prod = struct.unpack_from("<II", self.page, xs_wire.REQ_CONS_OFFSET)
        while prod - cons + len(REQUEST) <= xs_wire.XENSTORE_RING_SIZE:
            for byte in REQUEST:
                self.page[prod % xs_wire.XENSTORE_RING_SIZE] = byte
                prod += 1
        struct.pack_into("<I", self.page, xs_wire.REQ_PROD_OFFSET, prod)
        (produced,) = struct.unpack_from("<I", self.page, xs_wire.RSP_PROD_OFFSET)
        struct.pack_into("<I", self.page, xs_wire.RSP_CONS_OFFSET, produced)
        self.replies += 1
        os.eventfd_write(self.event_fd, 1)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(Store()) as server:
        keys = server.client()
        for domid in (5, 6):
            keys.write(f"/local/domain/{domid}", "")
            keys.set_permissions(f"/local/domain/{domid}", Permissions(domid))
        for child in range(500):
            keys.write(f"/local/domain/5/children/{child}", "")
        keys.set_permissions("/local/domain/5/children", Permissions(5))
        yield server


def waits(times: int, ask: object) -> list[float]:
    """How long, in ms, so many calls take, the longest last."""
    assert callable(ask)
    took = []
    for _ in range(times):
        before = time.monotonic()
        ask()
        took.append((time.monotonic() - before) * 1e3)
    return sorted(took)


def test_others_are_answered_at_once_while_a_guest_asks_without_end(server: Server) -> None:
    flood, other, keys = Flood(5), GuestEnd(6), server.client()
    server.attach(flood.foreign)
    server.attach(other.foreign)
    before = flood.replies
    toolstack = waits(100, lambda: keys.write("/tool/here", "x"))
    guest = waits(100, lambda: other(MessageType.READ, b"/local/domain/6\0"))
    print(f"at most {toolstack[-1]:.1f} ms for the toolstack and {guest[-1]:.1f} ms for another guest")
    assert toolstack[95] < 100 and guest[95] < 100
    assert flood.replies > before
    server.detach(5)
    server.detach(6)


def test_who_took_its_share_rests_and_the_others_go_on(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Share, "BURST", 0.02)
    monkeypatch.setattr(Share, "RATE", 1e-6)
    flood, other = Flood(5), GuestEnd(6)
    server.attach(flood.foreign)
    while not server._resting:
        os.sched_yield()
    had = flood.replies
    server.attach(other.foreign)
    for _ in range(100):
        other(MessageType.READ, b"/local/domain/6\0")
    assert flood.replies == had
    server.detach(5)  # and what rests goes like everybody
    assert not server._resting
    server.detach(6)


def test_who_rested_is_served_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Share, "BURST", 0.005)
    flood = Flood(5)
    server.attach(flood.foreign)
    for _ in range(3):
        while not server._resting:
            os.sched_yield()
        had = flood.replies
        while flood.replies == had:
            os.sched_yield()
    server.detach(5)


def test_what_it_is_served_for_counts_as_the_domains_time(server: Server) -> None:
    asking, silent = GuestEnd(5), GuestEnd(6)
    server.attach(asking.foreign)
    server.attach(silent.foreign)
    began = time.process_time_ns()
    for _ in range(100):
        asking(MessageType.READ, b"/local/domain/5\0")
    server.close()
    assert 0 < asking.foreign.charged <= time.process_time_ns() - began
    assert silent.foreign.charged < asking.foreign.charged / 5


def test_a_share_is_saved_up_to_a_burst_and_earned_at_a_rate() -> None:
    share = Share()
    share.spend(Share.BURST, 1000)
    assert share.rest() == 0
    share.spend(0.1, 1000)
    assert share.rest() == pytest.approx(0.1 / Share.RATE)
    share.spend(0, 1000 + 0.1 / Share.RATE)
    assert share.rest() == pytest.approx(0)
    share.spend(0, 10_000)
    share.spend(Share.BURST + 0.1, 10_000)
    assert share.rest() == pytest.approx(0.1 / Share.RATE)


def test_the_dearest_request_that_a_domain_can_prepare_takes_less_than_what_it_may_take_at_once() -> None:
    # The most watches on the way to as many changes as one transaction holds, as far down as it may go.
    store = Store()
    owner = store.introduce(0)
    guest = store.introduce(5)
    home = domain_path(5)
    store.write(owner, None, home, b"")
    store.set_permissions(owner, None, home, Permissions(5))
    bottom = home
    with suppress(StoreError):
        while len(bottom.names) < 1000:
            store.mkdir(guest, None, bottom.child("a"))
            bottom = bottom.child("a")
    for number in range(store.quota.watches):
        store.watch(guest, bottom, b"%d" % number, False)
    number = store.transaction_start(guest)
    transaction = store.transaction(guest, number)
    at = bottom
    while at != home:
        store.write(guest, transaction, at, b"2")
        at = at.parent
    with suppress(StoreError):
        for child in range(store.quota.nodes):
            store.write(guest, transaction, bottom.parent.child(f"b{child}"), b"2")
    before = time.thread_time()
    store.transaction_end(guest, number, commit=True)
    assert time.thread_time() - before < Share.BURST
