"""The list of multicast addresses that a card wants."""

from __future__ import annotations

from xenia.backends.vif.multicast import Multicast


def group(number: int) -> bytes:
    return bytes.fromhex("01005e") + number.to_bytes(3, "big")


def test_the_list_holds_64_addresses_and_each_once() -> None:
    multicast = Multicast()
    multicast.fill([group(number) for number in range(70)])
    multicast.fill([group(number) for number in range(70)])
    assert multicast.listed == [group(number) for number in range(64)]
    multicast.clear()
    assert multicast.listed == []
