"""What a frontend publishes is text of its own choice: a number is one, or the frontend is at fault."""

from __future__ import annotations

import pytest

from xenia.abi.xenbus import XenbusState
from xenia.foreign.fault import FrontendFault
from xenia.testing.foreign import MemoryForeign, MemoryGuest
from xenia.xenbus.directories import state_at
from xenia.xenbus.frontend import Frontend

NONSENSE = (
    "", " ", "-1", "+1", "1 ", " 1", "1\n", "0x1", "1e3", "1_0", "\u0663", "\xb2", "\uff11", "\u2460", "nan",
    "9" * 21, "9" * 5000, "\udcff", "\0", "1\0", "\x1b[2J", "%d", "4294967296",
)  # fmt: skip


class Page:
    """The store, as far as a state is read from it."""

    def __init__(self, text: str | None) -> None:
        self._text = text

    def get(self, path: str) -> str | None:
        return self._text


@pytest.mark.parametrize("text", NONSENSE)
def test_a_number_that_is_none_is_the_frontends_fault(text: str) -> None:
    frontend = Frontend(MemoryForeign(MemoryGuest(5)), {"key": text})
    for read in (frontend.number, frontend.flag):
        with pytest.raises(FrontendFault, match="not a number up to 4294967295") as fault:
            read("key")
        assert str(fault.value).isprintable() and len(str(fault.value)) < 250


@pytest.mark.parametrize("text", [*NONSENSE, None, "9", "10", "44"])
def test_a_state_that_is_none_is_unknown(text: str | None) -> None:
    assert state_at(Page(text), "/x") is XenbusState.UNKNOWN  # type: ignore[arg-type]
