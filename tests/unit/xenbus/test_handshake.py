from __future__ import annotations

import itertools

import pytest

from xenia.abi.xenbus import XenbusState
from xenia.xenbus.handshake import Action, react

S = XenbusState
MOST_STEPS = 5
ALL = list(itertools.product(S, S, (True, False)))


def path(own: XenbusState, frontend: XenbusState, online: bool = True) -> list[tuple[XenbusState, Action]]:
    """All steps until nothing more happens, the device is gone, or there are more than there can be."""
    steps: list[tuple[XenbusState, Action]] = []
    while len(steps) <= MOST_STEPS and (step := react(own, frontend, online)) is not None:
        steps.append((step.state, step.action))
        own = step.state
        if step.action is Action.REMOVE:
            break
    return steps


def test_a_new_device_is_offered_connected_and_closed() -> None:
    assert path(S.INITIALISING, S.INITIALISING) == [(S.INIT_WAIT, Action.PREPARE)]
    assert path(S.INIT_WAIT, S.INITIALISED) == [(S.CONNECTED, Action.CONNECT)]
    assert path(S.CONNECTED, S.CONNECTED) == []
    assert path(S.CONNECTED, S.CLOSING) == [(S.CLOSING, Action.DISCONNECT)]
    assert path(S.CLOSING, S.CLOSED) == [(S.CLOSED, Action.DISCONNECT)]


def test_a_frontend_that_is_ready_first_is_connected_all_the_same() -> None:
    assert path(S.INITIALISING, S.CONNECTED) == [(S.INIT_WAIT, Action.PREPARE), (S.CONNECTED, Action.CONNECT)]


def test_a_frontend_that_closed_may_come_back_while_the_device_is_online() -> None:
    assert path(S.CLOSED, S.CLOSED, online=True) == []
    assert path(S.CLOSED, S.INITIALISING) == [(S.INIT_WAIT, Action.PREPARE)]
    assert path(S.CLOSED, S.CLOSED, online=False) == [(S.CLOSED, Action.REMOVE)]


def test_a_frontend_that_begins_again_without_closing_is_let_go_of_first() -> None:
    assert path(S.CONNECTED, S.INITIALISING) == [(S.CLOSED, Action.DISCONNECT), (S.INIT_WAIT, Action.PREPARE)]


def test_a_frontend_that_changes_what_it_published_is_told_that_this_is_seen() -> None:
    assert path(S.CONNECTED, S.RECONFIGURING) == [(S.RECONFIGURED, Action.FOLLOW)]
    assert path(S.RECONFIGURED, S.CONNECTED) == [(S.CONNECTED, Action.NOTHING)]
    assert path(S.RECONFIGURED, S.CLOSING) == [(S.CLOSING, Action.DISCONNECT)]
    assert path(S.RECONFIGURED, S.RECONFIGURING, online=False) == [(S.CLOSING, Action.NOTHING)]


def test_unplugging_asks_a_connected_frontend_and_waits_for_it() -> None:
    assert path(S.CONNECTED, S.CONNECTED, online=False) == [(S.CLOSING, Action.NOTHING)]
    assert path(S.CLOSING, S.CONNECTED, online=False) == []
    assert path(S.CLOSING, S.CLOSED, online=False) == [(S.CLOSED, Action.DISCONNECT), (S.CLOSED, Action.REMOVE)]


def test_unplugging_before_any_frontend_came_needs_nobody() -> None:
    assert path(S.INIT_WAIT, S.INITIALISING, online=False) == [(S.CLOSED, Action.DISCONNECT), (S.CLOSED, Action.REMOVE)]


@pytest.mark.parametrize("own", list(S))
def test_a_frontend_that_vanished_ends_the_device_from_any_state(own: XenbusState) -> None:
    assert path(own, S.UNKNOWN)[-1] == (S.CLOSED, Action.REMOVE)


@pytest.mark.parametrize(("own", "frontend", "online"), ALL)
def test_nothing_a_frontend_writes_makes_the_backend_run_in_circles(
    own: XenbusState, frontend: XenbusState, online: bool
) -> None:
    assert len(path(own, frontend, online)) <= MOST_STEPS


@pytest.mark.parametrize(("own", "frontend", "online"), ALL)
def test_only_a_prepared_backend_connects(own: XenbusState, frontend: XenbusState, online: bool) -> None:
    step = react(own, frontend, online)
    if step is not None and step.action is Action.CONNECT:
        assert own is S.INIT_WAIT and online
