"""Guests of ours on links with what others made: a guest of QEMU's on one link with one of ours, and passt.

Each side sends megabytes and takes as many at the same time; the MD5 sum of what came is held against it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.long import amount
from tests.peers.namespaces import End, Host
from tests.peers.ours import Ours
from tests.peers.qemu import MISSING, QEMU, QemuGuest

pytestmark = pytest.mark.peer

MB = amount(100, 12)
# `first` is the number from which the lines of each megabyte count.  Data is given at port 5000 to who sends a line or
# ends, and taken at 5001; who answers at 5002 has both.
BOTH = f"""
seq $first 9999999 | head -c 1048576 > /tmp/block
echo 'read -r go; i=0; while [ $i -lt {MB} ]; do cat /tmp/block; i=$((i+1)); done' > /tmp/data
echo 'md5sum > /tmp/sum; mv /tmp/sum /tmp/received' > /tmp/take
sed -i '1i #!/bin/sh' /tmp/data /tmp/take
chmod +x /tmp/data /tmp/take
"""
SERVER = (
    BOTH
    + """
nc -ll -p 5000 -e /tmp/data &
nc -ll -p 5001 -e /tmp/take &
nc -ll -p 5002 -e true &
until [ $(netstat -lnt | grep -c ':500[012]') = 3 ]; do sleep 0.1; done
echo serving
until [ -e /tmp/received ]; do sleep 0.1; done
echo received $(cat /tmp/received)
"""
)
CLIENT = (
    BOTH
    + """
until nc 10.1.0.1 5002 </dev/null 2>/dev/null; do sleep 0.1; done
nc 10.1.0.1 5000 </dev/null | md5sum > /tmp/received &
/tmp/data </dev/null | nc 10.1.0.1 5001
wait
echo received $(cat /tmp/received)
"""
)


def data_from(first: int) -> str:
    """The sum of what a guest sends with that `first`."""
    block = "".join(f"{number}\n" for number in range(first, first + (1 << 18))).encode()[: 1 << 20]
    return hashlib.md5(block * MB).hexdigest()


def received(output: bytes) -> str:
    """The sum of what a guest says that it received."""
    found = re.search(rb"received ([0-9a-f]{32})", output)
    assert found is not None, output
    return found[1].decode()


# The agent's client asks for answers as broadcasts, and passt before 2025 gives none; busybox's takes what comes.
LEASE = """
cat > /tmp/lease <<'END'
#!/bin/sh
[ -z "$ip" ] || { ip addr add $ip/$mask dev $interface; ip route add default via $router; }
END
chmod +x /tmp/lease
ip route | grep -q default || udhcpc -q -f -n -i eth0 -s /tmp/lease
"""


def address(last: int) -> str:
    """Takes that one."""
    return f"\nip link set eth0 up; ip addr add 10.1.0.{last}/24 dev eth0\n"


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    """What ends with the test."""
    with ExitStack() as stack:
        yield stack


@pytest.mark.skipif(MISSING, reason=f"{QEMU} is not installed")
def test_a_guest_of_qemus_and_one_of_ours_exchange_megabytes_both_ways(closing: ExitStack, tmp_path: Path) -> None:
    link = tmp_path / "link"
    guest = Ours("first=1000000" + address(2) + CLIENT, f"socket=listen:{link}")
    closing.callback(guest.close)
    while not link.is_socket():
        assert guest.process.poll() is None
    other = QemuGuest(tmp_path, "first=1" + address(1) + SERVER, f"stream,server=off,addr.type=unix,addr.path={link}")
    closing.callback(other.close)
    assert received(guest.wait_for(b" -")) == data_from(1)
    assert received(other.wait_for(b" -")) == data_from(1000000)


@pytest.mark.skipif(shutil.which("passt") is None, reason="passt is not installed")
def test_a_guest_behind_passt_exchanges_megabytes_both_ways_through_ports_that_lead_to_it(closing: ExitStack) -> None:
    ports = [unused_port(), unused_port()]
    forwards = ",".join(f"forward=tcp:127.0.0.1:{port}:{to}" for port, to in zip(ports, (5000, 5001), strict=True))
    guest = Ours("first=1" + LEASE + SERVER, f"passt,{forwards}")
    closing.callback(guest.close)
    guest.wait_for(b"serving")
    taking, giving = (socket.create_connection(("127.0.0.1", port), timeout=60) for port in ports)
    taking.sendall(b"go\n")  # passt of 2023 does not let a guest speak first
    with taking, giving:
        ends = [End(taking, 0), End(giving, MB << 20)]
        for end in ends:
            end.join(120)
    assert ends[0].received == data_from(1)
    assert received(guest.wait_for(b" -")) == ends[1].sent


# What a guest may do that is not to be believed: it takes another address, and its loopback's is elsewhere.
REACH = """
ip link set eth0 up
ip addr flush dev eth0; ip addr add 198.51.100.77/32 dev eth0
ip addr flush dev lo; echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet
ip route add 198.51.100.2 dev eth0; ip route add default via 198.51.100.2
for address in 198.51.100.2:{world} 198.51.100.1:{port} 127.0.0.1:{port} 127.1.2.3:{port}; do
    echo "$address says $(timeout 4 nc ${{address%:*}} ${{address##*:}} 2>&1)."
done
echo tried
"""


@pytest.mark.skipif(shutil.which("passt") is None, reason="passt is not installed")
@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces are made by root only")
def test_a_guest_behind_passt_reaches_the_world_and_nothing_of_the_hosts(closing: ExitStack) -> None:
    host, world = Host(), Host()
    closing.callback(host.close)
    closing.callback(world.close)
    host.run(
        f"ip link add w0 type veth peer name w1 netns {world.pid}", "ip addr add 198.51.100.1/24 dev w0",
        "ip link set w0 up", "ip route add default via 198.51.100.2",
    )  # fmt: skip
    world.run("ip addr add 198.51.100.2/24 dev w1", "ip link set w1 up")
    ports = [closing.enter_context(_secret(each)) for each in (host, world)]
    script = REACH.format(port=ports[0], world=ports[1])
    guest = Ours(script, "passt", within=host.within)
    closing.callback(guest.close)
    said = guest.wait_for(b"tried").decode()
    assert said.count(" says ") == 4 and f"198.51.100.2:{ports[1]} says a secret" in said
    assert said.count(" says a secret") == 1, said[-500:]  # and passt of 2023 says again and again what was said once


@contextmanager
def _secret(host: Host) -> Iterator[int]:
    """A port of that host's where whoever connects is told it."""
    with host.entered():
        server = socket.create_server(("0.0.0.0", 0))

    told = []  # passt of 2023 may lose what is said before an end that comes at once

    def tell() -> None:
        with suppress(OSError):  # it is over
            while True:
                told.append(server.accept()[0])
                told[-1].sendall(b"a secret")

    threading.Thread(target=tell, daemon=True).start()
    try:
        yield int(server.getsockname()[1])
    finally:
        server.shutdown(socket.SHUT_RDWR)
        for each in (server, *told):
            each.close()


def unused_port() -> int:
    """One of TCP's."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
