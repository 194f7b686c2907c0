"""A card with its queues at work, between a frontend by hand and a network by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from xenia.backends.vif.card import Card
from xenia.backends.vif.features import Features
from xenia.backends.vif.queue import Queue
from xenia.backends.vif.rate import Rate
from xenia.backends.vif.steering import Steering
from xenia.machine.thread import HostThread
from xenia.net.port import Port
from xenia.testing.net import Behind
from xenia.testing.netfront import Netfront, NetfrontQueue

ALL = Features(sg=True, gso_tcpv4=True, gso_tcpv6=True, checksum_ipv4=True, checksum_ipv6=True)


class Wired:
    """One card, connected."""

    def __init__(
        self,
        port: Port,
        *,
        features: Features = ALL,
        rate: Rate | None = None,
        steering: Steering | None = None,
        nr_queues: int = 1,
        split: bool = True,
        listens: bool = False,
        domid: int = 7,
        serve: bool = True,
    ) -> None:
        """`serve`: on threads of their own, and where the guest notifies."""
        self.front = Netfront(nr_queues, split=split, listens=listens, domid=domid)
        self.card = Card(port, steering, rate)
        self.queues: list[Queue] = []
        self._held = ExitStack()
        foreign = self.front.foreign
        for queue in self.front.queues:
            tx_ring, rx_ring = foreign.map(queue.tx_ring.refs), foreign.map(queue.rx_ring.refs)
            tx_channel = foreign.bind(queue.tx_port.number)
            rx_channel = foreign.bind(queue.rx_port.number) if split else tx_channel
            for held in (tx_ring, rx_ring, tx_channel, rx_channel):
                self._held.callback(held.close)
            self.queues.append(
                Queue(
                    port,
                    self.card.steering,
                    self.card.rate,
                    foreign.frames,
                    tx_ring.memory,
                    rx_ring.memory,
                    tx_port=queue.tx_port.number,
                    rx_port=queue.rx_port.number,
                    tx_event_fd=tx_channel.event_fd,
                    rx_event_fd=rx_channel.event_fd,
                    features=features,
                )
            )
        self.threads = [HostThread(queue.serve, "vif queue") for queue in self.queues]
        for thread, served in zip(self.threads, self.queues, strict=True) if serve else ():
            thread.start()
            served.start()
        self.card.connect(self.queues)
        self._connected = True

    @property
    def guest(self) -> NetfrontQueue:
        """The frontend's first queue."""
        return self.front.queue

    @property
    def fault(self) -> str:
        """Of the first queue, once its thread has ended for it."""
        self.threads[0].join(20)
        assert not self.threads[0].is_alive()
        return self.queues[0].fault

    def disconnect(self) -> None:
        if self._connected:
            self._connected = False
            self.card.disconnect()
            for queue, thread in zip(self.queues, self.threads, strict=True):
                queue.stop()
                thread.end()
                queue.close()
            self._held.close()

    def close(self) -> None:
        self.disconnect()
        self.front.close()


Wire = Callable[..., Wired]


@pytest.fixture
def wire() -> Iterator[Wire]:
    """Makes cards that are closed at the end."""
    made: list[Wired] = []

    def make(port: Port | None = None, **how: object) -> Wired:
        made.append(Wired(Behind() if port is None else port, **how))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for wired in made:
        wired.close()
