"""Both ends of one ring, and an end whose peer is hostile."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, strategies as st

from xenia.errors import HypervisorBug
from xenia.rings.fault import RingFault
from xenia.rings.request import Back, Front

REQ_PROD, REQ_EVENT, RSP_PROD, RSP_EVENT = range(0, 16, 4)


def word(page: bytearray, offset: int, value: int | None = None) -> int:
    if value is not None:
        struct.pack_into("<I", page, offset, value & 0xFFFFFFFF)
    return int.from_bytes(page[offset : offset + 4], "little")


@pytest.fixture
def page() -> bytearray:
    return bytearray(4096)


@pytest.mark.parametrize(
    ("size", "entry_size", "nr_entries"),
    [
        (4096, 112, 32),
        (16384, 112, 128),
        (4096, 12, 256),
        (4096, 8, 256),
        (4096, 64, 32),
        (4096, 2016, 2),
        (4096, 4032, 1),
    ],
)
def test_a_ring_holds_a_power_of_two_of_entries(size: int, entry_size: int, nr_entries: int) -> None:
    pages = bytearray(size)
    assert Front(pages, entry_size).nr_entries == Back(pages, entry_size).nr_entries == nr_entries


def test_a_ring_that_does_not_fit_is_our_own_bug(page: bytearray) -> None:
    for entry_size in (0, 4033):
        with pytest.raises(HypervisorBug):
            Front(page, entry_size)


def test_requests_and_responses_share_their_entries(page: bytearray) -> None:
    front, back = Front(page, 64), Back(page, 64)
    front.put(b"request")
    assert back.take() == []
    front.push()
    assert [request.rstrip(b"\0") for request in back.take()] == [b"request"]
    assert back.owed == 1
    back.put(b"answered")
    assert front.take() == []
    back.push()
    assert [response.rstrip(b"\0") for response in front.take()] == [b"answered"]
    assert (back.owed, front.free) == (0, front.nr_entries)


def test_an_end_is_notified_only_when_it_asked_and_only_once(page: bytearray) -> None:
    front, back = Front(page, 64), Back(page, 64)
    front.put(b"1")
    assert front.push() is True  # a new ring asks for the first
    front.put(b"2")
    assert front.push() is False  # the back end has not rested since
    assert back.rest() is True
    assert len(back.take()) == 2
    assert back.rest() is False
    front.put(b"3")
    assert front.push() is True
    back.put(b"1")
    assert back.push() is True
    back.put(b"2")
    assert back.push() is False
    assert len(front.take()) == 2
    assert front.rest() is False
    back.take()
    back.put(b"3")
    assert back.push() is True


def test_one_notification_is_for_all_that_was_pushed_together(page: bytearray) -> None:
    front, back = Front(page, 64), Back(page, 64)
    assert back.rest() is False
    for number in range(front.nr_entries):
        front.put(bytes([number]))
    assert front.free == 0
    assert front.push() is True
    assert [request[0] for request in back.take()] == list(range(front.nr_entries))


def test_a_back_end_may_begin_in_the_middle(page: bytearray) -> None:
    front, back = Front(page, 64), Back(page, 64)
    front.put(b"1")
    front.push()
    back.take()
    back.put(b"1")
    back.push()
    back.close()
    second = Back(page, 64, start=word(page, RSP_PROD))
    front.put(b"2")
    front.push()
    assert second.take()[0][:1] == b"2"


@given(st.lists(st.tuples(st.sampled_from("rRpPaAsS"), st.integers(1, 5)), max_size=60))
def test_nothing_is_lost_and_nobody_sleeps_over_work(steps: list[tuple[str, int]]) -> None:
    """Small letters are the front end's doings: request, push, accept, sleep; capitals the back end's."""
    page = bytearray(64 + 8 * 4)
    front = Front(page, 4)
    back = Back(page, 4)
    sent, got, answered, heard = 0, 0, 0, 0
    unpushed = {"front": False, "back": False}
    asleep = {"front": False, "back": False}
    for step, amount in steps:
        match step:
            case "r":
                for _ in range(min(amount, front.free)):
                    front.put(sent.to_bytes(4, "little"))
                    sent += 1
                    unpushed["front"] = True
            case "p":
                if front.push():
                    asleep["back"] = False
                elif unpushed["front"]:
                    assert not asleep["back"]
                unpushed["front"] = False
            case "A":
                for request in back.take():
                    assert int.from_bytes(request, "little") == got
                    got += 1
            case "R":
                for _ in range(min(amount, back.owed)):
                    back.put(answered.to_bytes(4, "little"))
                    answered += 1
                    unpushed["back"] = True
            case "P":
                if back.push():
                    asleep["front"] = False
                elif unpushed["back"]:
                    assert not asleep["front"]
                unpushed["back"] = False
            case "a":
                for response in front.take():
                    assert int.from_bytes(response, "little") == heard
                    heard += 1
            case "s":
                asleep["front"] = not front.rest()
            case "S":
                asleep["back"] = not back.rest()


def test_indices_wrap(page: bytearray) -> None:
    """As after 2^32 - 2 requests."""
    front = Front(page, 64)
    for offset in (REQ_PROD, RSP_PROD):
        word(page, offset, 0xFFFFFFFE)
    back = Back(page, 64, start=0xFFFFFFFE)
    assert back.take() == []
    for index in range(4):
        slot = 64 + ((0xFFFFFFFE + index) % front.nr_entries) * 64
        page[slot] = index
    word(page, REQ_PROD, 2)
    assert [request[0] for request in back.take()] == [0, 1, 2, 3]
    for _ in range(4):
        back.put(b"")
    back.push()
    assert word(page, RSP_PROD) == 2


@given(
    st.lists(
        st.tuples(st.sampled_from([REQ_PROD, REQ_EVENT, RSP_PROD, RSP_EVENT]), st.integers(0, 0xFFFFFFFF)), max_size=20
    )
)
def test_a_hostile_frontend_gets_a_fault_or_no_more_than_a_ring_of_requests(scribbles: list[tuple[int, int]]) -> None:
    page = bytearray(4096)
    Front(page, 64)
    back = Back(page, 64)
    for offset, value in scribbles:
        word(page, offset, value)
        try:
            taken = len(back.take())
            assert taken <= back.owed <= back.nr_entries
            back.rest()
        except RingFault:
            continue
        while back.owed:
            back.put(b"response")
        back.push()


@pytest.mark.parametrize("ahead", [1, 100, 0x80000000, 0xFFFFFFFF])
def test_a_hostile_backend_cannot_answer_what_was_not_asked(page: bytearray, ahead: int) -> None:
    front = Front(page, 64)
    word(page, RSP_PROD, ahead)
    with pytest.raises(RingFault):
        front.take()
    with pytest.raises(RingFault):
        front.rest()


def test_more_requests_than_the_ring_holds_are_a_fault(page: bytearray) -> None:
    front, back = Front(page, 64), Back(page, 64)
    word(page, REQ_PROD, front.nr_entries)
    assert len(back.take()) == front.nr_entries
    word(page, REQ_PROD, front.nr_entries + 1)  # none is answered yet
    with pytest.raises(RingFault):
        back.take()


def test_requests_that_are_taken_back_are_a_fault(page: bytearray) -> None:
    Front(page, 64)
    back = Back(page, 64)
    word(page, REQ_PROD, 3)
    back.take()
    word(page, REQ_PROD, 2)
    with pytest.raises(RingFault):
        back.rest()


def test_an_end_does_not_break_its_own_rules(page: bytearray) -> None:
    front, back = Front(page, 2016), Back(page, 2016)
    with pytest.raises(HypervisorBug):
        back.put(b"nobody asked")
    front.put(b"1")
    front.put(b"2")
    with pytest.raises(HypervisorBug):
        front.put(b"3")
    back.close()
    with pytest.raises(HypervisorBug):
        back.take()


def test_a_closed_ring_lets_go_of_its_pages(page: bytearray) -> None:
    front, back = Front(page, 64), Back(page, 64)
    with pytest.raises(BufferError):
        page.extend(b"\0")
    front.close()
    back.close()
    page.extend(b"\0")
