"""QEMU's guests and others on one link, which speaks QEMU's own framing."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.peers.lab import Lab, a_lab
from tests.peers.namespaces import End
from tests.peers.qemu import MISSING, QEMU, QemuGuest
from xenia.net.link import Link
from xenia.net.links import make_link, open_link, parse_link

pytestmark = [pytest.mark.peer, pytest.mark.skipif(MISSING, reason=f"{QEMU} is not installed")]

MB = 100
EXCHANGE = """
dd if=/dev/urandom of=/tmp/block bs=1M count=1 2>/dev/null
data() { i=0; while [ $i -lt %d ]; do cat /tmp/block; i=$((i+1)); done; }
echo sent $(data | md5sum)
data | nc %s &
echo received $(nc %s </dev/null | md5sum)
wait
echo done
"""
ADDRESS = "ip link set eth0 up; ip addr add 10.1.0.1/24 dev eth0; "


@pytest.fixture
def lab() -> Iterator[Lab]:
    """One for each test."""
    with a_lab() as lab:
        yield lab


def sums(output: bytes) -> tuple[str, str]:
    """What a guest says that it sent, and received."""
    found = re.search(rb"sent ([0-9a-f]{32}).*received ([0-9a-f]{32})", output, re.S)
    assert found is not None, output
    return found[1].decode(), found[2].decode()


def connected(address: tuple[str, int]) -> socket.socket:
    """A connection with a server that will be there soon."""
    while True:
        with suppress(ConnectionRefusedError):
            return socket.create_connection(address, timeout=60)


def listening(path: Path) -> Link:
    """A link that waits for QEMU there."""
    opened = open_link(parse_link(f"socket=listen:{path}"))
    link = make_link(opened.spec, opened.descriptors)
    assert isinstance(link, Link)
    return link


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces and interfaces are made by root only")
def test_a_guest_of_qemus_and_a_host_exchange_100_mb_both_ways(lab: Lab, tmp_path: Path) -> None:
    link = listening(tmp_path / "link")
    host, there = lab.tap("10.1.0.2/24")
    lab.tie(link, there)
    script = ADDRESS + EXCHANGE % (MB, "-l -p 5000", "-l -p 5001")
    guest = QemuGuest(tmp_path, script, f"stream,server=off,addr.type=unix,addr.path={tmp_path}/link")
    try:
        guest.wait_for(b"sent ")
        with host.entered(), connected(("10.1.0.1", 5000)) as taking, connected(("10.1.0.1", 5001)) as giving:
            ends = [End(taking, 0), End(giving, MB << 20)]
            for end in ends:
                end.join(120)
        assert sums(guest.wait_for(b"done")) == (ends[0].received, ends[1].sent)
    finally:
        guest.close()
        link.close()
