"""What can be seen of an event channel."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class ChannelKind(IntEnum):
    """Xen's ECS_*; XENIA is an interdomain channel whose other end is Xenia's own."""

    RESERVED = 1
    UNBOUND = 2
    INTERDOMAIN = 3
    PIRQ = 4
    VIRQ = 5
    IPI = 6
    XENIA = 7


class ChannelInfo(NamedTuple):
    """One, at a moment.

    vcpu                      which is sent its events
    virq                      of a VIRQ: its number (public/xen.h)
    remote_domid, remote_port of one with two ends: the other; of an unbound one who may bind to it
    """

    port: int
    kind: ChannelKind
    pending: bool
    masked: bool
    vcpu: int
    virq: int
    remote_domid: int
    remote_port: int
