"""A host that gives no descriptor, no mapping or no thread, at each step in turn."""

from __future__ import annotations

from contextlib import suppress

import pytest

from tests.faults import Faults, each_fault
from tests.unit.backends.vbd.conftest import Blkfront
from xenia.abi.blkif import Operation, Status
from xenia.backends.vbd.device import Vbd
from xenia.storage.memory import Memory


@pytest.mark.parametrize("order", [0, 2])
def test_a_ring_that_cannot_be_connected_or_let_go_keeps_nothing(order: int) -> None:
    def scene(faults: Faults) -> None:
        front = Blkfront(Memory(1 << 20), ring_order=order, listens=True)
        try:
            with faults:
                front.connect()
        except OSError:
            assert faults.happened
            front.guest.assert_let_go()
            front.connect()
        assert front.do(front.request(Operation.FLUSH_DISKCACHE, 0, [])) == Status.OKAY
        with suppress(OSError), faults:
            front.disconnect()
        front.connected = False
        front.guest.assert_let_go()
        front.close()

    for faults in each_fault():
        scene(faults)


def test_a_device_that_cannot_have_its_threads_has_none() -> None:
    def scene(faults: Faults) -> None:
        with Memory(1 << 20) as layer, suppress(OSError):
            with faults:
                vbd = Vbd(layer, device=51712)
            vbd.close()

    for faults in each_fault():
        scene(faults)
