"""What each request of the protocol answers, to whom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, strategies as st

from xenia.abi.xs_wire import XENSTORE_PAYLOAD_MAX, MessageType, XsdError
from xenia.xenstore.connection import Connection
from xenia.xenstore.quota import Quota
from xenia.xenstore.reply import reply
from xenia.xenstore.store import DomainControl, Store
from xenia.xenstore.wire import Packet

Speaker = Any
OK = b"OK\0"


def test_what_was_written_is_read(dom0: Speaker) -> None:
    assert dom0("WRITE", "/a/b/c", b"any\0bytes\xff") == OK
    assert dom0("READ", "/a/b/c") == b"any\0bytes\xff"
    assert dom0("READ", "/a/b") == b""
    assert dom0("DIRECTORY", "/a") == b"b\0"
    assert dom0("DIRECTORY", "/a/b/c") == b""


def test_children_are_listed_in_the_order_of_their_creation(dom0: Speaker) -> None:
    for name in ("z", "a", "m"):
        dom0("WRITE", f"/d/{name}", name)
    dom0("WRITE", "/d/a", "again")
    assert dom0("DIRECTORY", "/d") == b"z\0a\0m\0"


def test_mkdir_keeps_what_is_there(dom0: Speaker) -> None:
    dom0("WRITE", "/a", "value")
    assert dom0("MKDIR", "/a") == OK
    assert dom0("READ", "/a") == b"value"
    assert dom0("MKDIR", "/b/c") == OK
    assert dom0("READ", "/b/c") == b""


def test_rm_takes_all_below_and_wants_only_the_node_above(dom0: Speaker) -> None:
    dom0("WRITE", "/a/b/c", "")
    assert dom0("RM", "/a/b") == OK
    assert dom0("READ", "/a/b/c") is XsdError.ENOENT
    assert dom0("RM", "/a/b") == OK
    assert dom0("RM", "/a/b/c") is XsdError.ENOENT
    assert dom0("RM", "/") is XsdError.EINVAL


def test_domain_0_may_use_paths_relative_to_its_home(dom0: Speaker) -> None:
    dom0("WRITE", "/local/domain/0/name", "Domain-0")
    assert dom0("READ", "name") == b"Domain-0"


def test_a_guests_relative_paths_begin_at_its_home(guest: Speaker, dom0: Speaker) -> None:
    assert guest("WRITE", "data/x", "1") == OK
    assert dom0("READ", "/local/domain/5/data/x") == b"1"
    assert guest("GET_DOMAIN_PATH", "5") == b"/local/domain/5\0"


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("READ", b""),
        ("READ", b"/a"),
        ("READ", b"/a\0\0"),
        ("READ", b"/a\0/b\0"),
        ("READ", b"//\0"),
        ("DIRECTORY", b"\0"),
        ("DIRECTORY_PART", b"/\0"),
        ("DIRECTORY_PART", b"/\0-1\0"),
        ("DIRECTORY_PART", b"/\0x\0"),
        ("GET_PERMS", b"/"),
        ("SET_PERMS", b"/\0"),
        ("SET_PERMS", b"/\0n0"),
        ("SET_PERMS", b"/\0q0\0"),
        ("WATCH", b"/\0"),
        ("WATCH", b"/\0token"),
        ("UNWATCH", b"/\0"),
        ("WRITE", b"/a"),
        ("MKDIR", b"a b\0"),
        ("RM", b""),
        ("TRANSACTION_END", b""),
        ("TRANSACTION_END", b"X\0"),
        ("INTRODUCE", b"5\0"),
        ("INTRODUCE", b"0\x001\x001\0"),
        ("INTRODUCE", b"32752\x001\x001\0"),
        ("RELEASE", b"\0"),
        ("RELEASE", b"0\0"),
        ("RESUME", b"x\0"),
        ("SET_TARGET", b"5\0"),
        ("GET_DOMAIN_PATH", b"70000\0"),
        ("IS_DOMAIN_INTRODUCED", b"-1\0"),
        ("CONTROL", b"nonsense\0"),
        ("CONTROL", b""),
    ],
)
def test_a_malformed_payload_is_invalid(store: Store, dom0: Speaker, kind: str, payload: bytes) -> None:
    store.control = Control()
    assert dom0(kind, raw=payload) is XsdError.EINVAL


@pytest.mark.parametrize("kind", [MessageType.WATCH_EVENT, MessageType.ERROR, 20, 23, 0xFFFF, 0xFFFFFFFF])
def test_what_is_no_request_is_not_implemented(store: Store, kind: int) -> None:
    assert reply(store, Connection(0), Packet(kind, 1, 2, b"")) == Packet(MessageType.ERROR, 1, 2, b"ENOSYS\0")


@given(st.integers(0, 23), st.integers(0, 2), st.binary(max_size=60), st.sampled_from([0, 5]))
def test_any_request_has_an_answer_and_only_errors_the_protocol_knows(
    kind: int, tx: int, payload: bytes, domid: int
) -> None:
    store = Store()
    answer = reply(store, Connection(domid), Packet(kind, 1, tx, payload))
    if answer.type == MessageType.ERROR:
        assert XsdError[answer.payload[:-1].decode()]
    else:
        assert answer.type == kind
    assert store.check() == []


def test_a_bug_of_ours_never_becomes_an_answer(store: Store, dom0: Speaker, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bytes:
        raise KeyError("a bug")

    monkeypatch.setattr(store, "read", broken)
    with pytest.raises(KeyError):
        dom0("READ", "/")


# --- Long listings


def test_a_listing_too_long_for_a_message_is_had_in_parts(dom0: Speaker) -> None:
    names = [f"name-of-some-length-{number}" for number in range(400)]
    for name in names:
        dom0("MKDIR", f"/many/{name}")
    assert dom0("DIRECTORY", "/many") is XsdError.E2BIG
    listing, generations = b"", set()
    while True:
        part = dom0("DIRECTORY_PART", "/many", str(len(listing)))
        assert len(part) <= XENSTORE_PAYLOAD_MAX
        generation, _, rest = part.partition(b"\0")
        generations.add(generation)
        if rest.endswith(b"\0\0"):
            listing += rest[:-1]
            break
        listing += rest
    assert listing.decode().split("\0")[:-1] == names
    assert len(generations) == 1
    assert dom0("DIRECTORY_PART", "/many", "100000") == generations.pop() + b"\0\0"
    dom0("RM", "/many/" + names[0])
    changed, _, _ = dom0("DIRECTORY_PART", "/many", "0").partition(b"\0")
    assert changed != generation


# --- Permissions


def test_a_guest_sees_neither_what_is_not_its_own_nor_whether_it_is_there(guest: Speaker, other: Speaker) -> None:
    other("WRITE", "secret", "x")
    assert guest("READ", "/local/domain/6/secret") is XsdError.EACCES
    assert guest("READ", "/local/domain/6/nothing") is XsdError.EACCES
    assert guest("WRITE", "/local/domain/6/new", "x") is XsdError.EACCES
    assert guest("RM", "/local/domain/6/secret") is XsdError.EACCES
    assert guest("DIRECTORY", "/") is XsdError.EACCES
    assert guest("READ", "nothing") is XsdError.ENOENT


def test_a_node_opens_to_the_domains_its_owner_names(guest: Speaker, other: Speaker) -> None:
    guest("WRITE", "shared", "1")
    assert guest("SET_PERMS", "shared", "n5", "r6") == OK
    assert guest("GET_PERMS", "shared") == b"n5\0r6\0"
    path = "/local/domain/5/shared"
    assert other("READ", path) == b"1"
    assert other("WRITE", path, "2") is XsdError.EACCES
    assert other("SET_PERMS", path, "b5") is XsdError.EACCES
    guest("SET_PERMS", "shared", "n5", "b6")
    assert other("WRITE", path, "2") == OK
    assert guest("READ", "shared") == b"2"


def test_a_guest_cannot_give_a_node_away(guest: Speaker, dom0: Speaker) -> None:
    guest("WRITE", "mine", "")
    assert guest("SET_PERMS", "mine", "n6") is XsdError.EPERM
    assert dom0("SET_PERMS", "/local/domain/5/mine", "n6") == OK
    assert guest("READ", "mine") is XsdError.EACCES


def test_what_a_domain_creates_inherits_permissions_but_is_its_own(guest: Speaker, other: Speaker) -> None:
    guest("SET_PERMS", "/local/domain/5", "n5", "b6")
    assert other("WRITE", "/local/domain/5/a/b", "") == OK
    assert other("GET_PERMS", "/local/domain/5/a") == b"n6\0b6\0"


def test_domain_0_creates_for_the_owner_of_the_place(guest: Speaker, dom0: Speaker) -> None:
    dom0("WRITE", "/local/domain/5/device/vif/0/state", "1")
    assert guest("GET_PERMS", "device") == b"n5\0"
    assert guest("WRITE", "device/vif/0/state", "3") == OK


def test_a_domain_acts_for_its_target(guest: Speaker, other: Speaker, dom0: Speaker) -> None:
    guest("WRITE", "data", "x")
    assert dom0("SET_TARGET", "6", "5") == OK
    assert other("READ", "/local/domain/5/data") == b"x"
    assert other("SET_PERMS", "/local/domain/5/data", "r5") == OK
    assert dom0("SET_TARGET", "6", "7") is XsdError.ENOENT


# --- Quotas


def test_a_guest_owns_only_so_many_nodes(guest: Speaker, dom0: Speaker, store: Store) -> None:
    for number in range(19):  # its home is the first
        assert guest("MKDIR", f"n{number}") == OK
    assert guest("MKDIR", "one-more") is XsdError.ENOSPC
    assert guest("WRITE", "n1", "no node more") == OK
    guest("RM", "n0")
    assert guest("MKDIR", "a/b") is XsdError.ENOSPC
    assert guest("MKDIR", "a") == OK
    assert dom0("MKDIR", "/local/domain/5/by-domain-0") == OK
    assert store.check() == []


def test_a_guests_values_and_permissions_are_only_so_long(guest: Speaker, dom0: Speaker) -> None:
    assert guest("WRITE", "a", bytes(100)) == OK
    assert guest("WRITE", "a", bytes(101)) is XsdError.ENOSPC
    assert dom0("WRITE", "/a", bytes(101)) == OK
    assert guest("SET_PERMS", "a", "n5", "r1", "r2", "r3", "r4") == OK
    assert guest("SET_PERMS", "a", "n5", "r1", "r2", "r3", "r4", "r6") is XsdError.ENOSPC


def test_a_guest_has_only_so_many_watches_and_transactions(guest: Speaker, dom0: Speaker) -> None:
    for number in range(3):
        assert guest("WATCH", "a", str(number)) == OK
        assert dom0("WATCH", "/a", str(number)) == OK
    assert guest("WATCH", "a", "3") is XsdError.E2BIG
    assert dom0("WATCH", "/a", "3") == OK
    guest.begin()
    first = guest.begin()
    assert guest("TRANSACTION_START", "") is XsdError.ENOSPC
    guest("TRANSACTION_END", "F", tx=first)
    assert guest("TRANSACTION_START", "") != XsdError.ENOSPC


def test_a_guests_transactions_touch_only_so_many_paths(guest: Speaker) -> None:
    tx = guest.begin()
    for number in range(12):
        assert guest("READ", f"n{number}", tx=tx) is XsdError.ENOENT
    assert guest("READ", "n12", tx=tx) is XsdError.ENOSPC
    assert guest("WRITE", "n0", "", tx=tx) is XsdError.ENOSPC
    assert guest("READ", "n12", tx=guest.begin()) is XsdError.ENOSPC


def test_every_request_of_the_protocol_is_known_and_nothing_else(dom0: Speaker) -> None:
    answers = {MessageType.WATCH_EVENT, MessageType.ERROR}
    for number in range(max(MessageType) + 2):
        answer = reply(dom0.store, dom0.connection, Packet(number, 1, 0, b""))
        unknown = answer.type == MessageType.ERROR and answer.payload == b"ENOSYS\0"
        assert unknown is (number not in set(MessageType) - answers), number


# --- Domains


class Control(DomainControl):
    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def introduce(self, domid: int, mfn: int, port: int) -> None:
        self.calls.append(("introduce", domid, mfn, port))

    def release(self, domid: int) -> None:
        self.calls.append(("release", domid))


def test_introducing_and_releasing_is_for_domain_0_and_carried_out_outside(
    store: Store, dom0: Speaker, guest: Speaker
) -> None:
    assert dom0("INTRODUCE", "9", "1234", "2") is XsdError.EINVAL
    control = store.control = Control()
    assert dom0("INTRODUCE", "9", "1234", "2", "") == OK
    assert dom0("RELEASE", "5") == OK
    assert dom0("RELEASE", "9") is XsdError.ENOENT
    assert control.calls == [("introduce", 9, 1234, 2), ("release", 5)]
    for kind, *strings in (
        ("INTRODUCE", "9", "1", "2"),
        ("RELEASE", "5"),
        ("RESUME", "5"),
        ("SET_TARGET", "5", "5"),
        ("CONTROL", "help"),
    ):
        assert guest(kind, *strings) is XsdError.EACCES


def test_who_is_introduced(dom0: Speaker, guest: Speaker, store: Store) -> None:
    assert [dom0("IS_DOMAIN_INTRODUCED", domid) for domid in ("0", "5", "6")] == [b"T\0", b"T\0", b"F\0"]
    assert guest("IS_DOMAIN_INTRODUCED", "32752") == b"T\0"  # DOMID_SELF
    store.release(5)
    assert dom0("IS_DOMAIN_INTRODUCED", "5") == b"F\0"


def test_a_released_domain_leaves_nothing_for_the_next_of_its_number(
    introduce: Callable[[int], Speaker], dom0: Speaker, store: Store
) -> None:
    guest, other = introduce(5), introduce(6)
    other("WRITE", "shared", "x")
    other("SET_PERMS", "shared", "n6", "r5")
    guest("WRITE", "data", "x")
    guest("WATCH", "data", "t")
    guest.begin()
    store.release(5)
    assert dom0("READ", "/local/domain/5") is XsdError.ENOENT
    assert store.check() == []
    again = introduce(5)
    assert again("READ", "/local/domain/6/shared") is XsdError.EACCES
    assert again.events() == []


def test_reset_watches_drops_watches_and_transactions(guest: Speaker, store: Store) -> None:
    tx = guest.begin()
    guest("WATCH", "a", "t")
    assert guest("RESET_WATCHES", "") == OK
    assert guest.commit(tx) is XsdError.ENOENT
    assert guest("UNWATCH", "a", "t") is XsdError.ENOENT
    guest("WRITE", "a", "")
    assert guest.events() == []
    assert store.check() == []


def test_a_domain_creates_nodes_no_deeper_than_its_quota(guest: Speaker, dom0: Speaker) -> None:
    most = Quota().depth - len(("local", "domain", "5"))
    beyond = "/".join("a" * (most + 1))
    assert guest("WRITE", beyond, "") == XsdError.ENOSPC
    assert guest("MKDIR", "/".join("a" * 10)) == OK
    assert guest("MKDIR", beyond, tx=guest.begin()) == XsdError.ENOSPC
    assert dom0("MKDIR", f"/local/domain/5/{beyond}") == OK
    assert guest("READ", beyond) == b""


def test_control_tells_its_commands_and_checks_the_store(dom0: Speaker) -> None:
    assert dom0("CONTROL", "help") == b"check\nhelp\nprint\nquota\0"
    assert dom0("CONTROL", "check") == OK
    assert dom0("CONTROL", "print", "hello") == OK
    assert b"nodes: 20" in dom0("CONTROL", "quota")
