"""A network card's cable that the host gives no thread for."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from xenia.guests import embedded
from xenia.net.layers.capture import Capture
from xenia.net.port import Port
from xenia.net.stream import StreamLink
from xenia.net.thread import LinkThread
from xenia.toolstack.config.machine import MIB
from xenia.toolstack.config.net import parse_card
from xenia.toolstack.machine.machine import Machine
from xenia.toolstack.networks.cable import Cable


@pytest.mark.skipif(embedded() is None, reason="the built-in guest is not built: no C compiler for x86-64")
def test_a_card_that_the_host_gives_no_thread_for_leaves_nothing_on_the_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: LinkThread, _port: Port) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    image = embedded()
    assert image is not None
    ours, theirs = socket.socketpair()
    with theirs, Machine(Machine.memory_for(16 * MIB)) as machine:
        guest = machine.create_domain(image, memory=16 * MIB)
        link = StreamLink(ours.detach(), vnet=False)
        cable = Cable(Capture(link, "eth0"), link)
        with monkeypatch.context() as patch:
            patch.setattr(LinkThread, "add", refuse)
            with pytest.raises(OSError, match="temporarily unavailable"):
                guest.attach(parse_card("socket=peer"), cable)
        assert not machine.xenstore.exists(f"/local/domain/{guest.domid}/device/vif/0")
        assert not machine.xenstore.exists(f"/local/domain/0/backend/vif/{guest.domid}/0")
        assert guest.devices == [] and not cable.closed
        assert guest.attach(parse_card("socket=peer"), cable).name == "vif0"
