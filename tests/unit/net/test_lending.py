"""A loop that is lent to an idle processor: who serves its links, and when."""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from xenia.net.stream import StreamLink
from xenia.net.thread import LinkThread
from xenia.testing.idler import Idler
from xenia.testing.net import Card

FRAME = bytes(range(60))
ON_THE_WIRE = struct.pack(">I", len(FRAME)) + FRAME


class Lent:
    """A link that a thread serves, and an idle processor that its loop is lent to."""

    def __init__(self, stack: ExitStack) -> None:
        ours, self.peer = socket.socketpair()
        stack.callback(self.peer.close)
        self.idler = Idler()
        stack.callback(self.idler.close)
        self.thread = LinkThread()
        stack.callback(self.thread.close)
        self.link = StreamLink(ours.detach())
        stack.callback(self.link.close)
        self.card = Card(self.link)
        stack.callback(self.card.close)
        self.thread.add(self.link)
        self.idler.lend(self.thread.loop)
        stack.callback(self.idler.take_back, self.thread.loop)

    def send(self) -> None:
        """A frame comes."""
        self.peer.sendall(ON_THE_WIRE)

    def sleep_instead(self) -> None:
        """Have the processor be idle, and frames come, until one comes while it is the processor that waits for it."""
        while True:
            self.idler.sleep(0)
            sender = threading.Timer(0.002, self.send)
            sender.start()
            slept = self.idler.sleep(10)
            came = self.card.received
            sender.join()
            if slept:
                assert [packet.data for packet in came] == [FRAME]
                return
            assert came or len(self.card.wait()) == 1


@pytest.fixture
def lent() -> Iterator[Lent]:
    with ExitStack() as stack:
        yield Lent(stack)


def test_frames_come_on_the_loops_thread_where_no_processor_is_idle(lent: Lent) -> None:
    for _ in range(20):
        lent.send()
        assert [packet.data for packet in lent.card.wait()] == [FRAME]


def test_an_idle_processor_is_given_the_links_after_a_frame_that_it_could_have_served(lent: Lent) -> None:
    assert lent.idler.sleep(0) == 0
    for _ in range(20):
        lent.sleep_instead()


def test_the_loops_thread_takes_over_when_the_processor_stays_busy(lent: Lent) -> None:
    for _ in range(5):
        lent.sleep_instead()
        lent.send()
        assert len(lent.card.wait()) == 1
        lent.send()
        assert len(lent.card.wait()) == 1


def test_what_is_lent_can_still_be_closed_told_of_and_taken_back(lent: Lent) -> None:
    lent.sleep_instead()
    lent.peer.close()
    while lent.link.carrier:
        lent.idler.sleep(0.001)
    assert lent.link.reason == "the peer closed the connection"
    assert lent.idler.take_back(lent.thread.loop)
    assert not lent.idler.take_back(lent.thread.loop)
    assert lent.idler.sleep(0) == 0


def test_a_link_that_listens_is_not_lent_for_no_vcpus_thread_may_accept_anybody() -> None:
    with ExitStack() as stack:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("")
        listener.listen()
        idler = Idler()
        stack.callback(idler.close)
        thread = LinkThread()
        stack.callback(thread.close)
        link = StreamLink(listener=os.dup(listener.fileno()))
        stack.callback(link.close)
        card = Card(link)
        stack.callback(card.close)
        thread.add(link)
        idler.lend(thread.loop)
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(listener.getsockname())
            for _ in range(20):
                assert idler.sleep(0) == 0
                peer.sendall(ON_THE_WIRE)
                assert len(card.wait()) == 1
        idler.take_back(thread.loop)
        listener.close()


def test_a_guest_that_sends_more_than_its_link_takes_is_told_when_it_takes_again(lent: Lent) -> None:
    lent.sleep_instead()
    while lent.card.send(*[FRAME] * 64) == 64:
        pass
    before = lent.card.nr_ready
    lent.peer.setblocking(False)
    while lent.card.nr_ready == before:
        lent.idler.sleep(0)
        if select.select([lent.peer], [], [], 0)[0]:
            lent.peer.recv(1 << 20)
    assert lent.card.nr_ready == before + 1
