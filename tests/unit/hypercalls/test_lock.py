"""No hypercall works for 5 ms without lending a lock to whoever waits for it: each kind at its longest, measured."""

import struct
from collections.abc import Callable

import pytest

from tests.unit.hypercalls.hypercalls import ARGUMENT, LIST
from xenia.abi.event_channel import (
    EVTCHNOP_alloc_unbound as ALLOC_UNBOUND,
    EVTCHNOP_bind_interdomain as BIND_INTERDOMAIN,
    EVTCHNOP_reset as RESET,
)
from xenia.abi.grant_table import GNTTABOP_set_version as SET_VERSION, GNTTABOP_setup_table as SETUP
from xenia.abi.memory import (
    XENMEM_decrease_reservation as DECREASE,
    XENMEM_exchange as EXCHANGE,
    XENMEM_populate_physmap as POPULATE,
)
from xenia.abi.xen import DOMID_SELF, Hypercall
from xenia.testing.still import BASE, StillDomain

LARGEST = 9  # order of an extent
EXTENTS = 16
GIB = 1 << 30


class Busy:
    """A domain that may have 64 MB more, in a machine of 2 GB."""

    def __init__(self) -> None:
        self.domain = StillDomain(memory=2 * GIB, spare=2 * EXTENTS << LARGEST)

    def make(self, number: int, command: int, argument: bytes, *more: int) -> int:
        """A hypercall with a structure."""
        self.domain.write(ARGUMENT, argument)
        return self.domain.call(number, command, ARGUMENT, *more)

    def reserve(self, command: int, count: int = EXTENTS, order: int = LARGEST) -> int:
        """A change of its reservation, in whose list is 0 or what it got."""
        return self.make(Hypercall.MEMORY_OP, command, struct.pack("=QQIIH6x", LIST, count, order, 0, DOMID_SELF))

    def populate(self) -> None:
        """Take all in large extents, and write to every page."""
        self.domain.write(LIST, struct.pack(f"={EXTENTS}Q", *(n << LARGEST for n in range(EXTENTS))))
        assert self.reserve(POPULATE) == EXTENTS
        memory = memoryview(self.domain.machine)
        for first in struct.unpack(f"={EXTENTS}Q", self.domain.read(LIST, 8 * EXTENTS)):
            memory[first << 12 : first + (1 << LARGEST) << 12 : 4096] = bytes([1]) * (1 << LARGEST)

    def decrease(self) -> None:
        """Give large extents back."""
        assert self.reserve(DECREASE) == EXTENTS

    def exchange(self) -> None:
        """A large extent for as many frames."""
        pages = BASE + 8 * 4096  # room for a list of 512
        ins = struct.pack("=QQIIH6x", LIST, 1, LARGEST, 0, DOMID_SELF)
        outs = struct.pack("=QQIIH6x", pages, 1 << LARGEST, 0, 0, DOMID_SELF)
        assert self.make(Hypercall.MEMORY_OP, EXCHANGE, ins + outs + bytes(8)) == 0

    def set_version(self) -> None:
        """The other kind of a grant table of 64 frames."""
        assert self.make(Hypercall.GRANT_TABLE_OP, SET_VERSION, struct.pack("=I", 2), 1) == 0

    def setup_table(self) -> None:
        """A grant table of 64 frames."""
        setup = struct.pack("=HxxIhxxxxxxQ", DOMID_SELF, 64, 0, LIST)
        assert self.make(Hypercall.GRANT_TABLE_OP, SETUP, setup, 1) == 0

    def fill_ports(self) -> None:
        """Every event channel there is."""
        unbound = struct.pack("=HHI", DOMID_SELF, DOMID_SELF, 0)
        while self.make(Hypercall.EVENT_CHANNEL_OP, ALLOC_UNBOUND, unbound) == 0:
            pass

    def bind_in_vain(self) -> None:
        """Look for a free port where there is none."""
        bind = struct.pack("=HxxII", DOMID_SELF, 1, 0)
        assert self.make(Hypercall.EVENT_CHANNEL_OP, BIND_INTERDOMAIN, bind) < 0

    def reset(self) -> None:
        """Close all of them."""
        assert self.make(Hypercall.EVENT_CHANNEL_OP, RESET, struct.pack("=H", DOMID_SELF)) == 0

    def end(self) -> None:
        """The domain is destroyed."""
        assert self.domain.destroy() == 0


@pytest.mark.parametrize(
    ("before", "operation"),
    [
        ([], Busy.populate),
        ([Busy.populate], Busy.decrease),
        ([Busy.populate], Busy.exchange),
        ([], Busy.setup_table),
        ([Busy.setup_table], Busy.set_version),
        ([Busy.fill_ports], Busy.bind_in_vain),
        ([Busy.fill_ports], Busy.reset),
        ([Busy.populate, Busy.setup_table], Busy.end),
    ],
)
def test_others_have_every_lock_in_the_middle(
    before: list[Callable[[Busy], None]], operation: Callable[[Busy], None]
) -> None:
    for asker in ("asker", "machine_asker", "directory_asker"):
        busy = Busy()
        for preparation in before:
            preparation(busy)
        _, longest = getattr(busy.domain, asker).lends(lambda busy=busy: operation(busy))
        print(f"{operation.__name__}, {asker}: kept for {longest / 1e6:.3f} ms at most")
        assert longest < 5_000_000
