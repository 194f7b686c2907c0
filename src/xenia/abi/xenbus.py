"""public/io/xenbus.h: the states of either end of a split device."""

from __future__ import annotations

from enum import IntEnum


class XenbusState(IntEnum):
    """enum xenbus_state: the value of an end's `state` key."""

    UNKNOWN = 0  # no such key: the end does not exist
    INITIALISING = 1
    INIT_WAIT = 2  # early initialisation done, waiting for the peer's information or hotplug scripts
    INITIALISED = 3  # waiting for a connection from the peer
    CONNECTED = 4
    CLOSING = 5  # because of an error or an unplug event
    CLOSED = 6
    RECONFIGURING = 7
    RECONFIGURED = 8
