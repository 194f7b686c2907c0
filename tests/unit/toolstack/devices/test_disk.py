"""A disk that is taken away while its layer does not answer."""

from __future__ import annotations

import threading

import pytest

from tests.unit.backends.vbd.conftest import Blkfront
from xenia.abi.blkif import Operation
from xenia.abi.xenbus import XenbusState
from xenia.errors import ConfigError
from xenia.storage.buffers import Buffers
from xenia.storage.stack import open_stack
from xenia.testing.foreign import MemoryForeign
from xenia.toolstack.config.disk import DiskConfig
from xenia.toolstack.devices.disk import Disk
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
