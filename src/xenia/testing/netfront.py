"""A network frontend by hand, for tests of its backend: a guest in memory, and for each queue its rings and pages.

A frame is sent and received as Linux's netfront does it, slot by slot; any other slot can be put by hand.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from xenia.abi.netif import (
    NETIF_EXTRA_GSO,
    NETIF_EXTRA_INFO,
    NETIF_EXTRA_MCAST,
    NETIF_RX_REQUEST,
    NETIF_RX_RESPONSE,
    NETIF_TX_REQUEST,
    NETIF_TX_RESPONSE,
    XEN_NETIF_EXTRA_FLAG_MORE,
    ExtraType,
    GsoType,
    RxFlags,
    Status,
    TxFlags,
)
from xenia.rings.request import Front
from xenia.testing.foreign import PAGE_SIZE, GuestPort, MemoryForeign, MemoryGuest

WAIT: Final = 20.0  # seconds for what must come
RING_SIZE: Final = 256  # entries of both rings


class Gso(NamedTuple):
    """What is said of a TCP segment that is to be cut."""

    type: GsoType
    size: int  # payload bytes of each segment


class Received(NamedTuple):
    """A frame as the guest has it."""

    data: bytes
    flags: RxFlags = RxFlags(0)  # of its first response
    gso: Gso | None = None
    extras: tuple[bytes, ...] = ()  # NETIF_EXTRA_INFO, all of them
    status: int = 0  # NETIF_RSP_* where one of its responses had an error


class NetfrontQueue:
    """One queue of a card: two rings, a page for each of their entries, and one port or two."""

    def __init__(self, guest: MemoryGuest, *, split: bool = True, pages: int = RING_SIZE) -> None:
        """`pages`: how many each ring has for frames; those of the receive ring are the most that can be posted."""
        self.guest = guest
        self.tx_ring, self.rx_ring = guest.share(), guest.share()
        self.tx_pages, self.rx_pages = guest.share(pages), guest.share(pages)
        self.tx = Front(self.tx_ring.memory, NETIF_TX_REQUEST.size)
        self.rx = Front(self.rx_ring.memory, max(NETIF_RX_REQUEST.size, NETIF_RX_RESPONSE.size))
        self.tx_port: GuestPort = guest.open_port()
        self.rx_port: GuestPort = guest.open_port() if split else self.tx_port
        self._nr_pages = pages
        self._free = list(range(pages))  # of tx_pages
        self._posted = self._taken = 0  # indices of the receive ring
        self._begun: list[bytes] = []  # responses of a frame whose end has not come

    def keys(self, prefix: str = "") -> dict[str, str]:
        """What the frontend publishes of it; `prefix`: queue-0/."""
        keys = {"tx-ring-ref": str(self.tx_ring.refs[0]), "rx-ring-ref": str(self.rx_ring.refs[0])}
        if self.rx_port is self.tx_port:
            keys["event-channel"] = str(self.tx_port.number)
        else:
            keys |= {"event-channel-tx": str(self.tx_port.number), "event-channel-rx": str(self.rx_port.number)}
        return {prefix + key: value for key, value in keys.items()}

    # --- Sending

    def put(
        self,
        data: bytes,
        flags: int = 0,
        *,
        gso: Gso | None = None,
        extras: Sequence[bytes] = (),
        parts: Sequence[tuple[int, int]] | None = None,
    ) -> list[int]:
        """Put a frame into the transmit ring, to be seen at `push`; the ids of its requests.

        extras    NETIF_EXTRA_INFO, whose flags are seen to here, after that of `gso`
        parts     offset in its page and bytes of each; as few pages as will do otherwise
        """
        if parts is None:
            parts = [(0, min(PAGE_SIZE, len(data) - at)) for at in range(0, max(len(data), 1), PAGE_SIZE)]
        extras = [extra_gso(gso)] * (gso is not None) + list(extras)
        ids, at = [], 0
        for index, (offset, length) in enumerate(parts):
            page = self._free.pop()
            ids.append(page)
            start = page * PAGE_SIZE + offset
            self.tx_pages.memory[start : start + length] = data[at : at + length]
            at += length
            told = flags | (TxFlags.EXTRA_INFO if extras else 0) if index == 0 else 0
            told |= TxFlags.MORE_DATA if index + 1 < len(parts) else 0
            size = length if index else len(data)
            self.put_request(self.tx_pages.refs[page], offset, told, page, size)
            for number, extra in enumerate(extras if index == 0 else ()):
                kind, _, rest = NETIF_EXTRA_INFO.unpack(extra)
                more = XEN_NETIF_EXTRA_FLAG_MORE if number + 1 < len(extras) else 0
                self.tx.put(NETIF_EXTRA_INFO.pack(kind, more, rest))
        return ids

    def put_request(self, gref: int, offset: int, flags: int, number: int, size: int) -> None:
        """Put any request into the transmit ring."""
        self.tx.put(NETIF_TX_REQUEST.pack(gref, offset, flags, number, size))

    def push(self) -> None:
        """Show the backend what was put."""
        if self.tx.push():
            self.tx_port.notify()

    def answers(self, wanted: int, timeout: float = WAIT) -> list[tuple[int, int]]:
        """Id and status of so many responses or more, as soon as they are there; fewer after so many seconds.

        Those of extra infos are left out."""
        answers: list[tuple[int, int]] = []
        end = time.monotonic() + timeout
        while True:
            for response in self.tx.take():
                number, status = NETIF_TX_RESPONSE.unpack_from(response)
                if status == Status.NULL:
                    continue
                answers.append((number, status))
                if number < self._nr_pages and number not in self._free:
                    self._free.append(number)
            if len(answers) >= wanted:
                return answers
            if not self.tx.rest() and not self.tx_port.wait(max(0.0, end - time.monotonic())):
                return answers

    def send(self, *frames: bytes, **how: object) -> list[int]:
        """Put frames, push them, and wait for the answers: the status of each of their requests."""
        ids = [number for frame in frames for number in self.put(frame, **how)]  # type: ignore[arg-type]
        self.push()
        answers = dict(self.answers(len(ids)))
        assert len(answers) == len(ids), f"{len(answers)} of {len(ids)} requests were answered"
        return [answers[number] for number in ids]

    # --- Receiving

    def post(self, count: int | None = None, *, quietly: bool = False) -> None:
        """Give the backend so many more pages to fill, or as many as there is room for; `quietly`: no event."""
        room = min(self.rx.free, self._nr_pages - (self._posted - self._taken))
        for _ in range(room if count is None else count):
            self.put_buffer(self._posted % RING_SIZE, self.rx_pages.refs[self._posted % self._nr_pages])
        if self.rx.push() and not quietly:
            self.rx_port.notify()

    def put_buffer(self, number: int, gref: int) -> None:
        """Put any request into the receive ring."""
        self.rx.put(NETIF_RX_REQUEST.pack(number, 0, gref))
        self._posted += 1

    def received(self, wanted: int = 1, timeout: float = WAIT) -> list[Received]:
        """So many frames or more, as soon as they are there; fewer after so many seconds.  Pages are not posted
        again."""
        frames: list[Received] = []
        end = time.monotonic() + timeout
        while True:
            for response in self.rx.take():
                self._begun.append(response)
                frame = self._whole()
                if frame is not None:
                    frames.append(frame)
                    self._taken += len(self._begun)
                    self._begun.clear()
            if len(frames) >= wanted:
                return frames
            if not self.rx.rest() and not self.rx_port.wait(max(0.0, end - time.monotonic())):
                return frames

    def _whole(self) -> Received | None:
        """The frame that the responses so far are, if its last one is there."""
        data, extras, gso = b"", [], None
        first, status, in_extras, more = RxFlags(0), 0, False, True
        for index, response in enumerate(self._begun):
            if in_extras:
                kind, told, rest = NETIF_EXTRA_INFO.unpack_from(response)
                extras.append(bytes(response[: NETIF_EXTRA_INFO.size]))
                if kind == ExtraType.GSO:
                    size, gso_type, _, _ = NETIF_EXTRA_GSO.unpack(rest)
                    gso = Gso(GsoType(gso_type), size)
                in_extras = bool(told & XEN_NETIF_EXTRA_FLAG_MORE)
                continue
            number, offset, flags, length = NETIF_RX_RESPONSE.unpack_from(response)
            slot = self._taken + index
            assert number == slot % RING_SIZE, f"slot {slot} is answered as {number}"  # netfront goes by the slot
            if index == 0:
                first = RxFlags(flags)
                in_extras = bool(flags & RxFlags.EXTRA_INFO)
            more = bool(flags & RxFlags.MORE_DATA)
            if length < 0:
                status = length
                continue
            assert offset + length <= PAGE_SIZE
            start = slot % self._nr_pages * PAGE_SIZE + offset
            data += bytes(self.rx_pages.memory[start : start + length])
        return None if in_extras or more else Received(data, first, gso, tuple(extras), status)

    def close(self) -> None:
        """Let go of the rings."""
        self.tx.close()
        self.rx.close()


class Netfront:
    """The guest's side of one card.  Close it at the end of the test, after its backend let go."""

    def __init__(
        self,
        nr_queues: int = 1,
        *,
        split: bool = True,
        listens: bool = False,
        pages: int = RING_SIZE,
        features: Iterable[str] = ("feature-sg", "feature-gso-tcpv4", "feature-gso-tcpv6", "feature-ipv6-csum-offload"),
        domid: int = 7,
    ) -> None:
        """listens    events to the backend are answered on the thread that sends them
        pages      for frames, for each of a queue's rings
        features   keys of the frontend's directory that are 1
        """
        self.guest = MemoryGuest(domid, nr_queues * (2 * pages + 2) + 64, listens)
        self.foreign = MemoryForeign(self.guest)
        self.queues = [NetfrontQueue(self.guest, split=split, pages=pages) for _ in range(nr_queues)]
        self.keys = {"request-rx-copy": "1", "feature-rx-notify": "1", **dict.fromkeys(features, "1")}
        for index, queue in enumerate(self.queues):
            self.keys |= queue.keys(f"queue-{index}/" if nr_queues > 1 else "")
        if nr_queues > 1:
            self.keys["multi-queue-num-queues"] = str(nr_queues)

    @property
    def queue(self) -> NetfrontQueue:
        """The first queue."""
        return self.queues[0]

    def close(self) -> None:
        """The backend has let go of everything, and the guest ends."""
        for queue in self.queues:
            queue.close()
        self.guest.assert_let_go()
        self.guest.close()


def extra_gso(gso: Gso | None) -> bytes:
    """The extra info of a segment that is to be cut."""
    kind, size = gso or (GsoType.NONE, 0)
    return NETIF_EXTRA_INFO.pack(ExtraType.GSO, 0, NETIF_EXTRA_GSO.pack(size, kind, 0, 0))


def extra_multicast(kind: ExtraType, address: bytes) -> bytes:
    """The extra info that adds a multicast address, or takes it off."""
    return NETIF_EXTRA_INFO.pack(kind, 0, NETIF_EXTRA_MCAST.pack(address))
