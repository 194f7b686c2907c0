"""public/io/xenbus.h: the states of either end of a split device.

Written by scripts/abi.py from xenbus.pxd: do not edit.
"""

from enum import IntEnum


class XenbusState(IntEnum):
    """XenbusState*."""

    UNKNOWN = 0  # no such key: the end does not exist
    INITIALISING = 1
    INIT_WAIT = 2
    INITIALISED = 3  # waiting for a connection from the peer
    CONNECTED = 4
    CLOSING = 5  # because of an error or an unplug event
    CLOSED = 6
    RECONFIGURING = 7
    RECONFIGURED = 8
