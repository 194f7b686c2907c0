"""A console that was saved and made anew goes on as one that was not."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from hypothesis import HealthCheck, given, settings, strategies as st

from tests.unit.backends.console.conftest import Frontend
from tests.unit.backends.console.test_queue import Glass, notifications
from xenia.abi import console
from xenia.backends.console.device import Console
from xenia.backends.console.persist import ConsoleState
from xenia.backends.console.queue import Queue
from xenia.backends.console.sink import CallbackSink
from xenia.testing.persist import check, through_json

_data = st.one_of(st.binary(max_size=40), st.integers(0, 3000).map(lambda size: bytes(range(256)) * (size // 256 + 1)))
_step = st.one_of(
    st.tuples(st.sampled_from(("put", "offer", "early", "late")), _data),
    st.tuples(st.just("room"), st.integers(0, 5000)),
    st.tuples(st.sampled_from(("take", "serve", "serve", "break")), st.just(None)),
    st.tuples(st.just("word"), st.tuples(st.integers(0, 3), st.integers(0, 0xFFFFFFFF))),
)


class Bench:
    """A guest's page, a sink, and the console between them."""

    def __init__(self) -> None:
        self.frontend = Frontend()
        self.glass = Glass()
        self.logged: list[bytes] = []
        self.queue = self.made(None)

    def made(self, state: ConsoleState | None) -> Queue:
        frontend = self.frontend
        return Queue("d1", frontend.view, frontend.notify, self.glass, state, log=self.logged.append)

    def restored(self, state: ConsoleState) -> Bench:
        self.queue.close()
        self.queue = self.made(state)
        return self

    def __del__(self) -> None:
        os.close(self.frontend.event_fd)

    def do(self, steps: Iterable[tuple[str, Any]]) -> list[object]:
        """Carry these out; what was seen from either side."""
        return [(self._do(*step), self._seen()) for step in steps]

    def _do(self, what: str, how: Any) -> object:
        match what:
            case "put":
                return self.frontend.put(how)
            case "take":
                prod, cons = map(self.frontend.word, (console.IN_PROD_OFFSET, console.IN_CONS_OFFSET))
                return self.frontend.take() if (prod - cons) & 0xFFFFFFFF <= console.IN_SIZE else None
            case "offer":
                return self.queue.offer(how)
            case "early" | "late":
                self.queue.emergency(how, late=what == "late")
            case "room":
                self.glass.room = how
            case "break":
                self.glass.broken = True
            case "word":
                self.frontend.word(console.IN_CONS_OFFSET + 4 * how[0], how[1])
            case "serve":
                return self.queue.service()
        return None

    def _seen(self) -> object:
        queue = self.queue
        return (
            bytes(self.frontend.page), self.glass.content, notifications(self.frontend), queue.stats, queue.unshown,
            queue.waits_for, queue.has_output, b"".join(self.logged),
        )  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(before=st.lists(_step, max_size=20), after=st.lists(_step, max_size=12))
def test_a_console_that_was_made_anew_goes_on_as_it_was(
    before: list[tuple[str, Any]], after: list[tuple[str, Any]]
) -> None:
    check(
        make=Bench,
        use=lambda bench: bench.do(before),
        save=lambda bench: bench.queue.save(),
        restore=Bench.restored,
        go_on=lambda bench: bench.do([*after, ("room", 1 << 30), ("serve", None)]),
    )


def test_a_console_whose_thread_was_ended_goes_on_with_input_and_output_in_order() -> None:
    """Ten times in the middle of both ways."""
    frontend = Frontend()
    heard: list[bytes] = []
    said = os.urandom(20_000)
    given, got, state = said[::-1], b"", None
    for turn in range(10):
        live = Console("d1", frontend.foreign, CallbackSink(heard.append), state)
        live.start()
        frontend.put_all(said[turn * 2000 : turn * 2000 + 2000])
        live.send(given[turn * 2000 : turn * 2000 + 2000])
        got += frontend.take_exactly(700)
        state = through_json(live.suspend())
    with Console("d1", frontend.foreign, CallbackSink(heard.append), state):
        got += frontend.take_exactly(len(given) - len(got))
    assert (b"".join(heard), got) == (said, given)
    os.close(frontend.event_fd)
