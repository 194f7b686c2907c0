"""A disk that is taken away while its layer does not answer."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from tests.unit.backends.vbd.conftest import Blkfront
from xenia.abi.blkif import Operation
from xenia.abi.xenbus import XenbusState
from xenia.errors import ConfigError
from xenia.foreign.foreign import Foreign
from xenia.storage.buffers import Buffers
from xenia.storage.memory import Memory
from xenia.storage.stack import open_stack
from xenia.testing.foreign import MemoryForeign, MemoryGuest
from xenia.testing.persist import through_json
from xenia.toolstack.config.disk import DiskConfig
from xenia.toolstack.devices.device import Device, Driver
from xenia.toolstack.devices.disk import Disk, plug, resume
from xenia.xenstore.server import Server
from xenia.xenstore.store import Store

LIMIT = 20


def test_a_disk_whose_requests_never_end_is_told_of_and_closed_once_they_have(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = open_stack("memory:1M,cache")
    asked, answer = threading.Event(), threading.Event()

    def wait(_buffers: Buffers, _offset: int, _length: int) -> None:
        asked.set()
        answer.wait(LIMIT)

    monkeypatch.setattr(layer, "_read", wait)
    front = Blkfront(layer)
    with Server(Store()) as server:
        client = server.client()
        disk = Disk(client, MemoryForeign(front.guest), DiskConfig("", "xvda"), 51712, layer, front.vbd, patience=0.05)
        assert disk.attachment.wait(XenbusState.INIT_WAIT, LIMIT)
        for key, value in front.keys.items():
            client.write(f"{disk.attachment.address.frontend_path}/{key}", value)
        client.write(f"{disk.attachment.address.frontend_path}/state", str(int(XenbusState.CONNECTED)))
        assert disk.attachment.wait(XenbusState.CONNECTED, LIMIT)
        page = front.guest.share(1)
        front.request(Operation.READ, 0, [(page.refs[0], 0, 7)])
        front.push()
        assert asked.wait(LIMIT)
        with pytest.raises(ConfigError, match="the disk xvda did not close: it answers nothing for"):
            disk.remove()
        assert not disk.removed and not layer.closed and front.guest.frames.held
        answer.set()
        (late,) = [thread for thread in threading.enumerate() if thread.name == "xvda waits"]
        late.join(LIMIT)
        assert disk.removed and layer.closed
        front.guest.assert_let_go()
    front.ring.close()
    front.guest.close()


class Desk:
    """What a disk has of its domain: see devices/device.py's Site."""

    name = "guest"
    driver_domain = False
    neighbours: Sequence[Device] = ()

    def __init__(self, server: Server, guest: MemoryGuest) -> None:
        self.foreign = MemoryForeign(guest)
        self.domid = self.foreign.domid
        self.devices: list[Device] = []
        self.store_client = server.client

    def foreign_to(self, driver: int) -> Foreign:
        raise AssertionError

    def driver(self, domid: int) -> Driver:
        raise AssertionError


def test_a_disk_that_was_suspended_goes_on_with_its_frontend_connected_and_its_layer_open() -> None:
    layer = Memory(1 << 20)
    front = Blkfront(layer)
    front.vbd.close()  # the disk has one of its own
    with Server(Store()) as server:
        desk, client = Desk(server, front.guest), server.client()
        disk = plug(desk, DiskConfig("", "xvda"), layer)
        assert disk.wait(XenbusState.INIT_WAIT, LIMIT)
        for key, value in front.keys.items():
            client.write(f"{disk.address.frontend_path}/{key}", value)
        client.write(f"{disk.address.frontend_path}/state", str(int(XenbusState.CONNECTED)))
        assert disk.wait(XenbusState.CONNECTED, LIMIT)
        page = front.guest.share(1)
        page.memory[:512] = b"a" * 512
        assert front.do(front.request(Operation.WRITE, 3, [(page.refs[0], 0, 0)])) == 0
        before = disk.statistics
        state = through_json(disk.suspend())
        assert not layer.closed and not front.guest.frames.held
        again = resume(desk, state, layer)
        assert again.statistics == before
        page.memory[:512] = bytes(512)
        assert front.do(front.request(Operation.READ, 3, [(page.refs[0], 0, 0)])) == 0
        assert bytes(page.memory[:512]) == b"a" * 512
        again.remove()
        assert layer.closed
        front.guest.assert_let_go()
    front.ring.close()
    front.guest.close()
