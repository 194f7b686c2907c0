"""How a backend answers the states of its frontend (public/io/xenbus.h): pure, one step at a time.

Usually: both ends are made INITIALISING; the backend publishes what it offers and is INIT_WAIT; the frontend
publishes its ring and channel and is INITIALISED or CONNECTED; the backend uses them and is CONNECTED.  To unplug,
`online` goes and the backend is CLOSING; the frontend finishes, is CLOSING, then CLOSED; the backend lets go of
everything and is CLOSED, and the device is removed.  A frontend that closes while the device stays online may come
back, INITIALISING, and is offered the device anew.  One that is connected may change what it published: it is
RECONFIGURING until the backend is RECONFIGURED, and both are CONNECTED again.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple

from xenia.abi.xenbus import XenbusState


class Action(Enum):
    """What a step does before the backend's new state is published."""

    NOTHING = auto()
    PREPARE = auto()  # publish what is offered
    CONNECT = auto()  # use what the frontend published
    FOLLOW = auto()  # look at what it changed
    DISCONNECT = auto()  # let go of it
    REMOVE = auto()  # the device ends here


class Step(NamedTuple):
    """One step of a backend."""

    state: XenbusState
    action: Action


def react(own: XenbusState, frontend: XenbusState, online: bool) -> Step | None:
    """The next step of a backend that is in state `own`, None when there is nothing to do until something changes.

    `online` says whether the device is to stay.
    """
    match frontend:
        case XenbusState.UNKNOWN:
            return _leave(own, stays=False)
        case XenbusState.CLOSED:
            return _leave(own, stays=online)
        case XenbusState.CLOSING:
            if own in (XenbusState.CLOSING, XenbusState.CLOSED):
                return None
            return Step(XenbusState.CLOSING, Action.DISCONNECT)
        case XenbusState.INITIALISING:
            return _begin(own, online)
        case _:
            return _go_on(own, frontend, online)


def _leave(own: XenbusState, stays: bool) -> Step | None:
    """The frontend is closed or gone."""
    if own is not XenbusState.CLOSED:
        return Step(XenbusState.CLOSED, Action.DISCONNECT)
    return None if stays else Step(XenbusState.CLOSED, Action.REMOVE)


def _begin(own: XenbusState, online: bool) -> Step | None:
    """The frontend is new, or anew."""
    if not online:
        return _leave(own, stays=False)
    if own in (XenbusState.INITIALISING, XenbusState.CLOSED):
        return Step(XenbusState.INIT_WAIT, Action.PREPARE)
    if own is XenbusState.INIT_WAIT:
        return None
    return Step(XenbusState.CLOSED, Action.DISCONNECT)  # it began again without having closed


def _go_on(own: XenbusState, frontend: XenbusState, online: bool) -> Step | None:
    """The frontend is on its way to be connected, or is."""
    if own in (XenbusState.CLOSING, XenbusState.CLOSED):
        return None
    if not online:
        return Step(XenbusState.CLOSING, Action.NOTHING)
    if own is XenbusState.INITIALISING:
        return Step(XenbusState.INIT_WAIT, Action.PREPARE)
    if own is XenbusState.INIT_WAIT and frontend in (XenbusState.INITIALISED, XenbusState.CONNECTED):
        return Step(XenbusState.CONNECTED, Action.CONNECT)
    if own is XenbusState.CONNECTED and frontend is XenbusState.RECONFIGURING:
        return Step(XenbusState.RECONFIGURED, Action.FOLLOW)
    if own is XenbusState.RECONFIGURED and frontend is XenbusState.CONNECTED:
        return Step(XenbusState.CONNECTED, Action.NOTHING)
    return None
