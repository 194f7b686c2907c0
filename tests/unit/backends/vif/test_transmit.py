"""What a guest sends."""

from __future__ import annotations

import pytest

from tests.unit.backends.vif.conftest import Wire
from xenia.testing.net import Behind

FRAME = bytes(range(6)) + b"\x00\x16\x3e\x00\x00\x01" + b"\x88\xb5" + bytes(range(256)) * 300


@pytest.mark.parametrize("listens", [False, True])
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("length", [14, 60, 255, 256, 257, 1514, 4096, 4097, 9014, 65535])
def test_a_frame_goes_to_the_network_whole(wire: Wire, length: int, split: bool, listens: bool) -> None:
    network = Behind()
    guest = wire(network, split=split, listens=listens).guest
    assert set(guest.send(FRAME[:length])) == {0}
    assert [packet.data for packet in network.sent] == [FRAME[:length]]
