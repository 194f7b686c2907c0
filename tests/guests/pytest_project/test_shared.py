"""These tests have one guest in common."""

import threading
from typing import Any

import pytest

pytestmark = pytest.mark.xenia(kernel="demo", memory="16M", name="common")
seen: list[Any] = []


def test_a_guest_is_there(shared_guest: Any) -> None:
    shared_guest.console.expect("> ")
    seen.append(shared_guest)


def test_it_is_the_same_for_the_next_test(shared_guest: Any) -> None:
    assert shared_guest is seen[0] and shared_guest.name == "common"
    shared_guest.console.send(b"halt\r")
    assert shared_guest.wait(60)


def test_one_that_has_ended_is_replaced(shared_guest: Any) -> None:
    assert shared_guest is not seen[0]
    shared_guest.console.expect("> ")
    assert sum("d1v0" in thread.name for thread in threading.enumerate()) <= 1
