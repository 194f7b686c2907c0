"""The frontend of the other tests, against a backend by hand."""

from __future__ import annotations

import pytest

from xenia.abi.netif import (
    NETIF_EXTRA_GSO,
    NETIF_EXTRA_INFO,
    NETIF_RX_REQUEST,
    NETIF_RX_RESPONSE,
    NETIF_TX_REQUEST,
    NETIF_TX_RESPONSE,
    ExtraType,
    GsoType,
    RxFlags,
    Status,
    TxFlags,
)
from xenia.rings.request import Back
from xenia.testing.netfront import Gso, Netfront


@pytest.mark.parametrize("split", [True, False])
def test_a_frame_goes_out_with_what_is_said_of_it_and_is_answered(split: bool) -> None:
    front = Netfront(split=split, pages=8)
    back = Back(front.foreign.map(front.queue.tx_ring.refs).memory, NETIF_TX_REQUEST.size)
    ids = front.queue.put(b"x" * 5000, TxFlags.CSUM_BLANK, gso=Gso(GsoType.TCPV4, 1448), parts=[(96, 4000), (0, 1000)])
    front.queue.push()
    first, extra, second = back.take()
    flags = TxFlags.CSUM_BLANK | TxFlags.EXTRA_INFO | TxFlags.MORE_DATA
    assert NETIF_TX_REQUEST.unpack(first) == (front.queue.tx_pages.refs[ids[0]], 96, flags, ids[0], 5000)
    assert NETIF_EXTRA_INFO.unpack_from(extra) == (ExtraType.GSO, 0, NETIF_EXTRA_GSO.pack(1448, GsoType.TCPV4, 0, 0))
    assert NETIF_TX_REQUEST.unpack(second) == (front.queue.tx_pages.refs[ids[1]], 0, 0, ids[1], 1000)
    for answer in ((ids[0], Status.OKAY), (0, Status.NULL), (ids[1], Status.DROPPED)):
        back.put(NETIF_TX_RESPONSE.pack(*answer))
    back.push()
    assert front.queue.answers(2) == [(ids[0], Status.OKAY), (ids[1], Status.DROPPED)]
    back.close()
    front.guest.live_mappings[0].close()  # type: ignore[attr-defined]
    front.close()


def test_a_frame_comes_in_over_pages_that_were_posted() -> None:
    front = Netfront(pages=4)
    front.queue.post()
    back = Back(front.foreign.map(front.queue.rx_ring.refs).memory, NETIF_RX_REQUEST.size)
    requests = [NETIF_RX_REQUEST.unpack(request) for request in back.take()]
    assert [gref for _, _, gref in requests] == front.queue.rx_pages.refs
    front.queue.rx_pages.memory[10:13], front.queue.rx_pages.memory[8192:8194] = b"abc", b"de"
    back.put(NETIF_RX_RESPONSE.pack(0, 10, RxFlags.EXTRA_INFO | RxFlags.MORE_DATA, 3))
    back.put(NETIF_EXTRA_INFO.pack(ExtraType.GSO, 0, NETIF_EXTRA_GSO.pack(9, GsoType.TCPV6, 0, 0)))
    back.push()
    assert front.queue.received(0) == []
    back.put(NETIF_RX_RESPONSE.pack(2, 0, 0, 2))
    back.push()
    (frame,) = front.queue.received()
    assert (frame.data, frame.gso, frame.status) == (b"abcde", Gso(GsoType.TCPV6, 9), 0)
    back.close()
    front.guest.live_mappings[0].close()  # type: ignore[attr-defined]
    front.close()
