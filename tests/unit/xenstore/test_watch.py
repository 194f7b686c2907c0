"""Who hears of what, when, and under which name."""

from __future__ import annotations

from typing import Any

import pytest

from xenia.abi.xs_wire import XENSTORE_PAYLOAD_MAX, XsdError
from xenia.xenstore.store import Store

Speaker = Any
OK = b"OK\0"


def watch(speaker: Speaker, *strings: str) -> None:
    """Set a watch and take the event that setting it makes."""
    assert speaker("WATCH", *strings) == OK
    assert speaker.events() == [(strings[0], strings[1])]


def test_a_watch_hears_of_everything_at_and_below_its_path(dom0: Speaker) -> None:
    watch(dom0, "/a", "t")
    dom0("WRITE", "/a/b/c", "x")
    dom0("MKDIR", "/a/d")
    dom0("SET_PERMS", "/a", "r0")
    dom0("RM", "/a/b")
    dom0("WRITE", "/ab", "x")
    assert dom0.events() == [("/a/b/c", "t"), ("/a/d", "t"), ("/a", "t"), ("/a/b", "t")]


def test_reading_and_what_fails_and_what_changes_nothing_are_no_events(dom0: Speaker) -> None:
    dom0("MKDIR", "/a")
    watch(dom0, "/", "t")
    dom0("READ", "/a")
    dom0("MKDIR", "/a")
    dom0("RM", "/none")
    dom0("RM", "/none/at/all")
    assert dom0.events() == []


def test_a_relative_watch_hears_relative_paths(guest: Speaker, dom0: Speaker) -> None:
    watch(guest, "device", "t")
    dom0("WRITE", "/local/domain/5/device/vbd/51712", "")
    assert guest.events() == [("device/vbd/51712", "t")]


def test_a_watch_below_a_removed_node_hears_its_own_path(dom0: Speaker) -> None:
    dom0("WRITE", "/a/b/c", "")
    watch(dom0, "/a/b/c", "deep")
    watch(dom0, "/a/b/none", "absent")
    dom0("RM", "/a")
    assert dom0.events() == [("/a/b/c", "deep")]


def test_several_watches_hear_of_one_change_each_with_its_token(dom0: Speaker, guest: Speaker) -> None:
    watch(dom0, "/local/domain/5/x", "one")
    watch(dom0, "/", "two")
    watch(guest, "x", "three")
    guest("WRITE", "x", "")
    assert dom0.events() == [("/local/domain/5/x", "two"), ("/local/domain/5/x", "one")]
    assert guest.events() == [("x", "three")]


def test_a_watch_is_set_once_and_ends(dom0: Speaker) -> None:
    watch(dom0, "/a", "t")
    assert dom0("WATCH", "/a", "t") is XsdError.EEXIST
    assert dom0("UNWATCH", "/a", "t", "") == OK
    assert dom0("UNWATCH", "/a", "t") is XsdError.ENOENT
    dom0("WRITE", "/a", "")
    assert dom0.events() == []


def test_a_guest_hears_nothing_of_what_it_may_not_read(guest: Speaker, other: Speaker, dom0: Speaker) -> None:
    watch(guest, "/local/domain/6", "t")
    other("WRITE", "secret", "1")
    other("RM", "secret")
    assert guest.events() == []
    other("WRITE", "open", "1")
    other("SET_PERMS", "open", "r6")
    assert guest.events() == [("/local/domain/6/open", "t")]
    other("RM", "open")
    assert guest.events() == [("/local/domain/6/open", "t")]


def test_who_may_list_a_node_hears_what_comes_and_goes_in_it_but_not_what_is_written(
    guest: Speaker, other: Speaker
) -> None:
    other("SET_PERMS", "/local/domain/6", "r6")
    other("MKDIR", "closed")
    other("SET_PERMS", "closed", "n6")
    watch(guest, "/local/domain/6/closed", "t")
    other("WRITE", "closed", "secret")
    assert guest.events() == []
    other("RM", "closed")
    assert guest.events() == [("/local/domain/6/closed", "t")]


def test_changes_in_a_transaction_are_heard_when_it_is_committed(dom0: Speaker) -> None:
    watch(dom0, "/", "t")
    tx = dom0.begin()
    dom0("WRITE", "/a/b", "1", tx=tx)
    dom0("WRITE", "/a/b", "2", tx=tx)
    dom0("MKDIR", "/c", tx=tx)
    assert dom0.events() == []
    dom0.commit(tx)
    assert dom0.events() == [("/a/b", "t"), ("/c", "t")]
    tx = dom0.begin()
    dom0("RM", "/a", tx=tx)
    dom0("TRANSACTION_END", "F", tx=tx)
    assert dom0.events() == []


def test_domains_that_come_and_go_are_heard_of_by_name(dom0: Speaker, store: Store) -> None:
    watch(dom0, "@introduceDomain", "in")
    watch(dom0, "@releaseDomain", "out")
    store.introduce(5)
    assert dom0.events() == [("@introduceDomain", "in")]
    store.shutdown(5)
    store.shutdown(5)
    assert dom0.events() == [("@releaseDomain", "out")]
    assert dom0("RESUME", "5") == OK
    store.shutdown(5)
    assert dom0.events() == [("@releaseDomain", "out")]
    store.release(5)
    assert dom0.events() == [("@releaseDomain", "out")]
    assert dom0("RESUME", "5") is XsdError.ENOENT


def test_only_who_may_read_a_special_name_hears_of_it(guest: Speaker, dom0: Speaker, store: Store) -> None:
    watch(guest, "@introduceDomain", "in")
    store.introduce(7)
    assert guest.events() == []
    assert guest("SET_PERMS", "@introduceDomain", "r0") is XsdError.EACCES
    assert dom0("SET_PERMS", "@introduceDomain", "n0", "r5") == OK
    assert guest("GET_PERMS", "@introduceDomain") == b"n0\0r5\0"
    store.introduce(8)
    assert guest.events() == [("@introduceDomain", "in")]
    assert guest("GET_PERMS", "@nothing") is XsdError.ENOENT


def test_an_event_that_waits_already_is_not_queued_again(dom0: Speaker) -> None:
    watch(dom0, "/a", "t")
    for _ in range(1000):
        dom0("WRITE", "/a", "")
    assert dom0.events() == [("/a", "t")]


def test_who_takes_no_events_hears_in_the_end_only_where_to_look(guest: Speaker, dom0: Speaker) -> None:
    watch(guest, "data", "t")
    for number in range(100):
        dom0("WRITE", f"/local/domain/5/data/{number}", "")
    assert guest.events() == [*[(f"data/{number}", "t") for number in range(4)], ("data", "t")]


def test_an_event_too_long_for_a_message_names_what_was_watched(dom0: Speaker) -> None:
    token = "t" * (XENSTORE_PAYLOAD_MAX - 10)
    watch(dom0, "/a", token)
    dom0("WRITE", "/a/" + "b" * 100, "")
    assert dom0.events() == [("/a", token)]


@pytest.mark.parametrize("name", ["", "@", "/a/", "a//b"])
def test_what_is_no_name_cannot_be_watched(dom0: Speaker, name: str) -> None:
    assert dom0("WATCH", name, "t") is XsdError.EINVAL
