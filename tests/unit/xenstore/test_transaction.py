"""Transactions: together or not at all, and refused only where somebody else really interfered."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from xenia.abi.xs_wire import MessageType, XsdError
from xenia.xenstore.connection import Connection
from xenia.xenstore.permissions import Permissions
from xenia.xenstore.reply import reply
from xenia.xenstore.store import Store
from xenia.xenstore.tree import Node, Tree
from xenia.xenstore.wire import Packet

Speaker = Any
OK = b"OK\0"


def test_a_transaction_is_seen_by_itself_first_and_by_others_when_committed(dom0: Speaker) -> None:
    tx = dom0.begin()
    dom0("WRITE", "/a/b", "1", tx=tx)
    assert dom0("READ", "/a/b", tx=tx) == b"1"
    assert dom0("READ", "/a/b") is XsdError.ENOENT
    assert dom0.commit(tx) == OK
    assert dom0("READ", "/a/b") == b"1"
    assert dom0.commit(tx) is XsdError.ENOENT


def test_an_aborted_transaction_leaves_nothing(dom0: Speaker, store: Store) -> None:
    before = store.tree
    tx = dom0.begin()
    dom0("WRITE", "/a", "1", tx=tx)
    assert dom0("TRANSACTION_END", "F", tx=tx) == OK
    assert store.tree is before


def test_transactions_do_not_nest_and_belong_to_their_client(dom0: Speaker, guest: Speaker) -> None:
    tx = dom0.begin()
    assert dom0("TRANSACTION_START", "", tx=tx) is XsdError.EBUSY
    assert guest("READ", "/a", tx=tx) is XsdError.ENOENT
    assert guest.commit(tx) is XsdError.ENOENT
    assert dom0("TRANSACTION_END", "T") is XsdError.ENOENT


# What a transaction did, what others did meanwhile, and whether that is a conflict.  /d holds x and y.
INTERLEAVINGS: list[tuple[str, tuple[str, ...], tuple[str, ...], bool]] = [
    ("read what is written", ("READ", "/d/x"), ("WRITE", "/d/x", "2"), True),
    ("read beside what is written", ("READ", "/d/x"), ("WRITE", "/d/y", "2"), False),
    ("read above what is written", ("READ", "/d"), ("WRITE", "/d/y", "2"), False),
    ("read what is written with the same", ("READ", "/d/x"), ("WRITE", "/d/x", "1"), False),
    ("read what is removed", ("READ", "/d/x"), ("RM", "/d/x"), True),
    ("read what is removed from above", ("READ", "/d/x"), ("RM", "/d"), True),
    ("miss what is created", ("READ", "/d/z"), ("MKDIR", "/d/z"), True),
    ("miss beside what is created", ("READ", "/d/z"), ("MKDIR", "/d/w"), False),
    ("list where a name is new", ("DIRECTORY", "/d"), ("MKDIR", "/d/z"), True),
    ("list where a value is new", ("DIRECTORY", "/d"), ("WRITE", "/d/x", "2"), False),
    ("list where deeper names are new", ("DIRECTORY", "/d"), ("MKDIR", "/d/x/z"), False),
    ("write what is written", ("WRITE", "/d/x", "3"), ("WRITE", "/d/x", "2"), True),
    ("write beside what is written", ("WRITE", "/d/x", "3"), ("WRITE", "/d/y", "2"), False),
    ("create beside what is created", ("WRITE", "/d/z", "3"), ("WRITE", "/d/w", "2"), False),
    ("create where the place is removed", ("WRITE", "/d/z", "3"), ("RM", "/d"), True),
    ("create where the place is closed", ("WRITE", "/d/z", "3"), ("SET_PERMS", "/d", "n9"), True),
    ("create the same", ("MKDIR", "/d/z"), ("MKDIR", "/d/z"), True),
    ("create below what is created", ("WRITE", "/e/f", "3"), ("WRITE", "/e/g", "2"), True),
    ("remove above what is written", ("RM", "/d"), ("WRITE", "/d/x", "2"), True),
    ("remove above what is created", ("RM", "/d"), ("MKDIR", "/d/x/z"), True),
    ("remove beside what is written", ("RM", "/d/x"), ("WRITE", "/d/y", "2"), False),
    ("remove what is not there", ("RM", "/d/z"), ("MKDIR", "/d/w"), False),
    ("remove where nothing is and something comes", ("RM", "/e/z"), ("MKDIR", "/e"), True),
    ("see permissions that change", ("GET_PERMS", "/d/x"), ("SET_PERMS", "/d/x", "r0"), True),
    ("see permissions where a value is new", ("GET_PERMS", "/d/x"), ("WRITE", "/d/x", "2"), False),
]


@pytest.mark.parametrize(
    ("mine", "theirs", "conflict"), [row[1:] for row in INTERLEAVINGS], ids=[row[0] for row in INTERLEAVINGS]
)
def test_only_a_real_conflict_is_told_to_try_again(
    dom0: Speaker, store: Store, mine: tuple[str, ...], theirs: tuple[str, ...], conflict: bool
) -> None:
    dom0("WRITE", "/d/x", "1")
    dom0("WRITE", "/d/y", "1")
    tx = dom0.begin()
    dom0("WRITE", "/mark", "", tx=tx)
    dom0(*mine, tx=tx)
    assert dom0(*theirs) == OK
    assert dom0.commit(tx) == (XsdError.EAGAIN if conflict else OK)
    assert (dom0("READ", "/mark") == b"") is not conflict
    assert store.check() == []


def test_what_others_did_elsewhere_stays(dom0: Speaker) -> None:
    dom0("WRITE", "/d/x", "1")
    tx = dom0.begin()
    dom0("WRITE", "/d/x", "2", tx=tx)
    dom0("WRITE", "/new/node", "3", tx=tx)
    dom0("WRITE", "/d/y", "theirs")
    assert dom0.commit(tx) == OK
    assert [dom0("READ", path) for path in ("/d/x", "/d/y", "/new/node")] == [b"2", b"theirs", b"3"]


def test_what_was_removed_and_made_again_is_only_what_was_made(dom0: Speaker) -> None:
    dom0("WRITE", "/d/x", "1")
    tx = dom0.begin()
    dom0("RM", "/d", tx=tx)
    dom0("WRITE", "/d/y", "2", tx=tx)
    dom0("WRITE", "/elsewhere", "")
    assert dom0.commit(tx) == OK
    assert dom0("DIRECTORY", "/d") == b"y\0"


def test_a_quota_holds_when_transactions_come_together(guest: Speaker) -> None:
    first, second = guest.begin(), guest.begin()
    for number in range(5):
        assert guest("WRITE", f"first{number}", "", tx=first) == OK
        assert guest("WRITE", f"second{number}", "", tx=second) in (OK, XsdError.ENOSPC)
    for number in range(14):
        assert guest("WRITE", f"direct{number}", "") == OK
    assert guest.commit(first) == OK
    assert guest.commit(second) is XsdError.ENOSPC


# --- The promise itself, on random interleavings

PATHS = ["/a", "/a/b", "/a/b/c", "/a/d", "/e"]
requests = st.one_of(
    st.tuples(st.sampled_from(["READ", "DIRECTORY", "MKDIR", "RM", "GET_PERMS"]), st.sampled_from(PATHS)),
    st.tuples(st.just("WRITE"), st.sampled_from(PATHS), st.sampled_from("12")),
    st.tuples(st.just("SET_PERMS"), st.sampled_from(PATHS), st.sampled_from(["n0", "r0", "n5"])),
)
# Who acts: 0 directly, 1 and 2 each in a transaction; None ends that transaction.
steps = st.lists(st.tuples(st.sampled_from([0, 1, 2]), st.one_of(requests, requests, st.none())), max_size=30)


def packet(request: tuple[str, ...], tx: int = 0) -> Packet:
    kind, path, *rest = request
    payload = f"{path}\0".encode() + b"".join(text.encode() for text in rest)
    return Packet(MessageType[kind], 0, tx, payload + (b"\0" if kind == "SET_PERMS" else b""))


def shape(node: Node) -> tuple[bytes, Permissions, dict[str, Any]]:
    """A node without what is not visible: generations and the order of names."""
    return node.value, node.permissions, {name: shape(child) for name, child in node.children.items()}


def alone(tree: Tree, requests: list[tuple[str, ...]]) -> tuple[list[object], Tree]:
    """What these requests answer, and leave behind, when nobody else is there."""
    store, client = Store(), Connection(0)
    store.tree = tree
    return [answer(reply(store, client, packet(request))) for request in requests], store.tree


def answer(reply: Packet) -> object:
    """A reply, with no regard to the order of names."""
    listing = reply.type == MessageType.DIRECTORY
    return reply.type, sorted(reply.payload.split(b"\0")) if listing else reply.payload


@given(steps)
def test_a_committed_transaction_is_as_if_it_had_run_at_its_end_alone(
    steps: list[tuple[int, tuple[str, ...] | None]],
) -> None:
    store, client = Store(), Connection(0)
    open_ones: dict[int, tuple[int, list[tuple[str, ...]], list[object]]] = {}
    for who, request in steps:
        if who == 0:
            if request is not None:
                reply(store, client, packet(request))
            continue
        if request is not None:
            if who not in open_ones:
                open_ones[who] = (store.transaction_start(client), [], [])
            tx, made, answers = open_ones[who]
            made.append(request)
            answers.append(answer(reply(store, client, packet(request, tx))))
        elif who in open_ones:
            tx, made, answers = open_ones.pop(who)
            expected, tree = alone(store.tree, made)
            before = store.tree
            ended = reply(store, client, Packet(MessageType.TRANSACTION_END, 0, tx, b"T\0"))
            if ended.type == MessageType.ERROR:
                assert ended.payload == b"EAGAIN\0"
                assert store.tree is before
            else:
                assert answers == expected
                assert shape(store.tree.root) == shape(tree.root)
        assert store.check() == []
