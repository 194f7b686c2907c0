"""A store that was saved and made anew goes on as one that was not, in the middle of transactions and messages."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from tests.unit.xenstore.conftest import Speaker
from tests.unit.xenstore.test_ring import Frontend
from tests.unit.xenstore.test_server import GuestEnd
from xenia.abi import xs_wire
from xenia.abi.xs_wire import ConnectionState as RingConnection, MessageType, XsdError
from xenia.errors import ConfigError
from xenia.persist import Encoded, decode, encode
from xenia.testing.persist import check, through_json
from xenia.xenstore.connection import Connection
from xenia.xenstore.guest_client import GuestClient
from xenia.xenstore.permissions import Permissions
from xenia.xenstore.persist import GuestClientState, ServerState, StoreState
from xenia.xenstore.quota import Quota
from xenia.xenstore.server import Server
from xenia.xenstore.store import Store
from xenia.xenstore.wire import Packet

QUOTA = Quota(nodes=12, value_size=20, watches=3, transactions=2, transaction_paths=12, events=4, outstanding=4)
DOMAINS = (5, 6)
BEGIN = ("TRANSACTION_START", ("",))

_path = st.sampled_from(
    ("/", "/a", "/a/b", "/a/b/c", "data", "data/x", "data/x/y", "/local/domain/5", "/local/domain/5/data",
     "/local/domain/6/data/x")
)  # fmt: skip
_name = st.one_of(_path, st.sampled_from(("@introduceDomain", "@releaseDomain")))
_token = st.sampled_from(("t", "u", ""))
_entry = st.sampled_from(("n0", "n5", "r5", "b6", "w0"))
_request = st.one_of(
    st.tuples(st.sampled_from(("READ", "DIRECTORY", "MKDIR", "MKDIR", "RM", "GET_PERMS")), st.tuples(_path)),
    st.tuples(st.just("WRITE"), st.tuples(_path, st.sampled_from(("", "1", "two", "x" * 21)))),
    st.tuples(st.just("WRITE"), st.tuples(_path, st.sampled_from(("", "1")))),
    st.tuples(st.just("DIRECTORY_PART"), st.tuples(_path, st.just("0"))),
    st.tuples(st.just("SET_PERMS"), st.tuples(_name, _entry, _entry)),
    st.tuples(st.sampled_from(("WATCH", "WATCH", "UNWATCH")), st.tuples(_name, _token)),
    st.just(BEGIN),
    st.tuples(st.just("TRANSACTION_END"), st.sampled_from((("T",), ("T",), ("F",)))),
    st.tuples(st.just("TRANSACTION_END"), st.just(("T",))),
    st.tuples(st.just("SET_TARGET"), st.just(("5", "6"))),
    st.tuples(st.just("RESET_WATCHES"), st.just(("",))),
    st.tuples(st.just("RESUME"), st.just(("5",))),
)
# Who, what, and in which of its transactions.
_step = st.one_of(
    st.tuples(st.sampled_from((0, *DOMAINS)), _request, st.integers(0, 3)),
    st.tuples(st.sampled_from((0, *DOMAINS)),
              st.sampled_from(("events", "shutdown", "shutdown", "introduce", "release")), st.integers(0, 3)),
)  # fmt: skip
_steps = st.lists(_step, max_size=40)


class Bench:
    """A store and its clients: domain 0's, and those of two domains."""

    def __init__(self) -> None:
        self.store = Store(QUOTA)
        self.dom0 = Connection(0)
        for domid in DOMAINS:
            home = f"/local/domain/{domid}"
            Speaker(self.store, self.dom0)("MKDIR", home)
            Speaker(self.store, self.dom0)("SET_PERMS", home, f"n{domid}")
            self.store.introduce(domid)
        for who in (0, *DOMAINS):
            self.do([(who, ("WATCH", ("@releaseDomain" if who == 5 else "/", "first")), 0), (who, BEGIN, 0)])

    def save(self) -> StoreState:
        return self.store.save([self.dom0])

    @staticmethod
    def restored(_: Bench, state: StoreState) -> Bench:
        bench = Bench.__new__(Bench)
        bench.store, connections = Store.restore(state, QUOTA)
        bench.dom0 = connections[-1]
        return bench

    def do(self, steps: Sequence[Any]) -> list[object]:
        """Carry these out; all answers, who is to be told, and what the store counts."""
        seen: list[object] = []
        for who, what, which in steps:
            seen.append(self._do(who, what, which))
            ready = sorted(connection.identity.domid for connection in self.store.ready)
            seen.append((ready, dict(self.store.tree.owned), self.store.check()))
        return seen

    def _do(self, who: int, what: Any, which: int) -> object:
        if what == "introduce":
            return who and self.store.introduce(who) is not None
        if who and who not in self.store.domains:
            return None
        connection = self.store.domains[who].connection if who else self.dom0
        match what:
            case "events":
                self.store.ready.pop(connection, None)
                return list(connection.take_events(which))
            case "shutdown":
                return self.store.shutdown(who)  # type: ignore[func-returns-value]
            case "release":
                return who and self.store.release(who)  # type: ignore[func-returns-value]
        kind, strings = what
        tx = [0, *connection.transactions][-1 if which else 0]  # its newest, mostly
        return Speaker(self.store, connection)(kind, *strings, tx=tx)

    def end(self) -> list[object]:
        """Everything that there is to see."""
        kinds = ("READ", "DIRECTORY_PART", "GET_PERMS")
        paths = ("/", "/a", "/a/b", "/local/domain/5", "/local/domain/5/data", "/local/domain/6/data/x")
        last = [(who, "events", 100) for who in (0, *DOMAINS)]
        asked = [
            (0, (kind, (path, "0") if kind == "DIRECTORY_PART" else (path,)), 0) for kind in kinds for path in paths
        ]
        return self.do([*asked, *last])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(before=_steps, after=_steps)
def test_a_store_that_was_made_anew_goes_on_as_it_was(before: list[Any], after: list[Any]) -> None:
    check(
        make=Bench,
        use=lambda bench: bench.do(before),
        save=Bench.save,
        restore=Bench.restored,
        go_on=lambda bench: (bench.do(after), bench.end()),
    )


def test_an_open_transaction_conflicts_with_what_others_do_and_with_nothing_else() -> None:
    for meanwhile, ends in (("/a/x", XsdError.EAGAIN), ("/b", b"OK\0")):
        bench = Bench()
        guest = Speaker(bench.store, bench.dom0)
        guest("MKDIR", "/a/x")
        tx = guest.begin()
        guest("RM", "/a", tx=tx)  # depends on all that is below: on its being the same nodes
        bench = Bench.restored(bench, through_json(bench.save()))
        Speaker(bench.store, bench.dom0)("WRITE", meanwhile, "1")
        assert Speaker(bench.store, bench.dom0).commit(tx) == ends


def test_a_transaction_that_is_committed_later_tells_what_it_named_and_removes_what_it_removed() -> None:
    bench = Bench()
    speak = Speaker(bench.store, bench.dom0)
    speak("WRITE", "/a/old", "1")
    tx = speak.begin()
    speak("RM", "/a", tx=tx)
    speak("WRITE", "/a/b/c", "2", tx=tx)
    speak("WATCH", "/a", "t")
    speak.events()
    bench = Bench.restored(bench, through_json(bench.save()))
    speak = Speaker(bench.store, bench.dom0)
    assert speak.commit(tx) == b"OK\0"
    assert speak("DIRECTORY", "/a") == b"b\0"
    assert speak.events() == [("/a", "first"), ("/a", "t"), ("/a/b/c", "first"), ("/a/b/c", "t")]


def test_a_shutdown_that_was_told_is_not_told_again() -> None:
    bench = Bench()
    bench.store.shutdown(6)
    told = Speaker(bench.store, bench.dom0)
    told("WATCH", "@releaseDomain", "t")
    told.events()
    bench = Bench.restored(bench, through_json(bench.save()))
    bench.store.shutdown(6)
    assert Speaker(bench.store, bench.dom0).events() == []


def test_a_domain_that_acts_for_another_still_does() -> None:
    bench = Bench()
    Speaker(bench.store, bench.dom0)("SET_TARGET", "5", "6")
    bench = Bench.restored(bench, through_json(bench.save()))
    five = Speaker(bench.store, bench.store.domains[5].connection)
    assert five("WRITE", "/local/domain/6/data", "x") == b"OK\0"


def test_a_reply_that_is_half_sent_is_sent_once() -> None:
    bench = PageBench()
    bench.do([("send", 0, 400), ("send", 0, 400), ("serve", None, None)])
    bench.restored(through_json(bench.save()))
    seen = [bench.frontend.take()]
    bench.client.service()
    seen.append(bench.frontend.take())
    reply = Packet(MessageType.READ, 1, 0, b"n" * 900).encode()
    assert b"".join(seen) == 2 * reply and len(seen[0]) == 1024


def test_a_tree_is_saved_once_however_many_transactions_look_at_it() -> None:
    store, dom0 = Store(), Connection(0)
    speak = Speaker(store, dom0)
    for number in range(300):
        speak("WRITE", f"/tool/{number}", "x")
    alone = len(store.save([dom0]).nodes)
    for _ in range(20):
        speak("WRITE", "/tool/0", "y", tx=speak.begin())
    assert len(store.save([dom0]).nodes) == alone + 20 * 3


def test_a_node_at_the_bottom_of_the_deepest_path_is_saved() -> None:
    store, dom0 = Store(), Connection(0)
    path = "/a" * 1500
    Speaker(store, dom0)("WRITE", path, "deep")
    again, [client] = Store.restore(through_json(store.save([dom0])))
    assert Speaker(again, client)("READ", path) == b"deep"


def test_a_client_that_is_not_saved_leaves_nothing() -> None:
    bench = Bench()
    local = Connection(0)
    Speaker(bench.store, local)("WATCH", "/a", "t")
    state = bench.save()
    assert {watch.token for watch in state.watches} == {b"first"} and len(state.connections) == 3


# --- A domain's page


_piece = st.one_of(
    st.tuples(st.just("send"), st.sampled_from((0, 0, 0, *range(7))), st.integers(1, 400)),
    st.tuples(st.just("serve"), st.none(), st.none()),
    st.tuples(st.just("serve"), st.none(), st.none()),
    st.tuples(st.just("take"), st.integers(0, 1024), st.none()),
    st.tuples(st.just("poke"), st.sampled_from((xs_wire.REQ_PROD_OFFSET, xs_wire.RSP_CONS_OFFSET)),
              st.sampled_from((0, 0x80000000))),
    st.tuples(st.just("poke"), st.just(xs_wire.CONNECTION_OFFSET), st.just(int(RingConnection.RECONNECT))),
)  # fmt: skip
_pieces = st.lists(_piece, max_size=25)


class PageBench:
    """A guest that sends its messages in pieces and takes what it likes of the answers."""

    REQUESTS = (
        Packet(MessageType.READ, 1, 0, b"name\0"),
        Packet(MessageType.WRITE, 2, 0, b"data\0" + b"v" * 300),
        Packet(MessageType.WATCH, 3, 0, b"data\0token\0"),
        Packet(MessageType.DIRECTORY, 4, 0, b"/\0"),
        Packet(MessageType.TRANSACTION_START, 5, 0, b"\0"),
        Packet(MessageType.READ, 6, 1, b"data\0"),
        Packet(MessageType.READ, 7, 0, b"no end" * 800),  # too long: a breach of the protocol
    )

    def __init__(self) -> None:
        self.frontend = Frontend()
        self.store = Store(Quota(outstanding=3))
        self.store.introduce(5)
        dom0 = Speaker(self.store, Connection(0))
        dom0("WRITE", "/local/domain/5/name", "n" * 900)  # two of them are more than the ring takes
        for path in ("/local/domain/5", "/local/domain/5/name"):
            dom0("SET_PERMS", path, "n5")
        self.unsent = b""
        self.said: list[tuple[int, str]] = []
        self.client = self.made(None)

    def made(self, state: GuestClientState | None) -> GuestClient:
        connection = self.store.domains[5].connection
        page, complain = memoryview(self.frontend.page), lambda level, line: self.said.append((level, line))
        client = GuestClient(self.store, connection, page, self.frontend.notify, complain, state)
        client.TURN = 1e9  # how far one turn goes is not to depend on how busy the host is
        return client

    def save(self) -> ServerState:
        return ServerState(self.store.save(), {5: self.client.save()})

    def restored(self, state: ServerState) -> PageBench:
        self.client.close()
        self.store, _ = Store.restore(state.store, self.store.quota)
        self.client = self.made(state.clients[5])
        return self

    def do(self, pieces: Sequence[Any]) -> list[object]:
        return [
            (self._do(*piece), bytes(self.frontend.page), self.frontend.notified, list(self.said)) for piece in pieces
        ]

    def _do(self, what: str, how: Any, much: Any) -> object:
        match what:
            case "send":
                self.unsent = self.unsent or self.REQUESTS[how].encode()
                sent = self.frontend.put(self.unsent[:much])
                self.unsent = self.unsent[sent:]
                return sent
            case "take":
                cons, prod = map(self.frontend.word, (xs_wire.RSP_CONS_OFFSET, xs_wire.RSP_PROD_OFFSET))
                count = min(how, (prod - cons) & 0xFFFFFFFF, 1024)
                self.frontend.word(xs_wire.RSP_CONS_OFFSET, (cons + count) & 0xFFFFFFFF)
                return bytes(self.frontend.page[1024 + (cons + i) % 1024] for i in range(count))
            case "poke":
                self.frontend.word(how, much)
            case "serve":
                return self.client.service()
        return None


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(before=_pieces, after=_pieces)
def test_a_guest_whose_messages_are_half_sent_goes_on_with_the_other_half(before: list[Any], after: list[Any]) -> None:
    check(
        make=PageBench,
        use=lambda bench: bench.do(before),
        save=PageBench.save,
        restore=PageBench.restored,
        go_on=lambda bench: bench.do(after),
    )


# --- The server


@pytest.fixture
def guest() -> Iterator[GuestEnd]:
    guest = GuestEnd()
    yield guest
    os.close(guest.event_fd)


def test_a_domain_goes_on_with_another_server_ten_times(guest: GuestEnd) -> None:
    store, client = Store(), None
    for turn in range(10):
        with Server(store) as server:
            if client is None:
                keys = server.client()
                keys.write("/local/domain/5/data", "")
                for path in ("/local/domain/5", "/local/domain/5/data"):
                    keys.set_permissions(path, Permissions(5))
            server.attach(guest.foreign, client)
            if turn:
                assert guest.receive().payload == b"%d\0" % turn  # to what was asked of the server before
            assert guest(MessageType.WRITE, b"data\0%d" % turn) == b"OK\0"
            state = through_json(server.save())
        guest.send(MessageType.TRANSACTION_START, b"\0")  # nobody is there
        store, _ = Store.restore(state.store)
        client = state.clients[5]
    assert len(store.domains[5].connection.transactions) == 9


def test_a_store_of_an_unknown_version_is_refused_in_one_line() -> None:
    document, blobs = encode(Store().save())
    document["version"] = 2
    with pytest.raises(ConfigError, match=r"^StoreState was saved as version 2; this Xenia knows version 1$"):
        decode(StoreState, Encoded(document, blobs))
