"""Stock kernels' netfront on cards of ours: two guests in one machine, each the other's network."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guests.shell import Shell
from tests.guests.stock import program
from tests.long import amount
from xenia.abi.xenbus import XenbusState
from xenia.net.layers.capture import Capture
from xenia.testing.netfront_flood import Crossed
from xenia.toolstack.config.machine import MIB
from xenia.toolstack.config.net import NetConfig
from xenia.toolstack.devices.vif import NetworkCard
from xenia.toolstack.machine.machine import Machine
from xenia.toolstack.networks.cable import Cable
from xenia.toolstack.provision.packages import PackageClient

pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(not PackageClient.available(), reason="no apt-get on this host to fetch Debian's kernel with"),
]

PROGRAMS = Path(__file__).with_name("net")
QUEUES = 4
TIMES = amount(20, 8)
CROSSING = 200  # frames
LIMIT = 60.0  # seconds
NUMBERS = 150_000
MANY = 900_000  # bytes that they are at least, each in a line


class Wired:
    """A guest, and its port."""

    def __init__(self, machine: Machine, number: int) -> None:
        self.machine, self.number = machine, number
        self.port = Crossed()
        files = {"/bin/xdp": program("xdp", PROGRAMS)}
        self.shell = Shell(machine, f"guest{number}", ("xen-netfront",), files=files)
        self.do, self.run = self.shell.do, self.shell.run

    def plug(self) -> None:
        """A card that comes while it runs.  Linux has as many queues as vcpus, unless its module is told otherwise."""
        self.do(f"echo {QUEUES} >/sys/module/xen_netfront/parameters/max_queues")
        self.shell.domain.attach(
            NetConfig(link="network", queues=QUEUES), Cable(Capture(self.port, f"guest{self.number}"))
        )
        self.address()

    def address(self) -> None:
        """Have the card in use."""
        self.do("while ! [ -e /sys/class/net/eth0 ]; do sleep 0.05; done")
        self.do(f"ip link set eth0 mtu 9000; ip addr add 10.0.0.{self.number}/24 dev eth0; ip link set eth0 up")
        assert self.card.wait(XenbusState.CONNECTED, LIMIT)

    @property
    def card(self) -> NetworkCard:
        """The one that was plugged in last."""
        card = self.shell.domain.devices[-1]
        assert isinstance(card, NetworkCard)
        return card

    def reaches(self, other: Wired) -> bool:
        """Whether it gets an answer to a large datagram within a second."""
        return self.run(f"ping -c 1 -W 1 -s 8900 10.0.0.{other.number}")[0] == 0


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Wired, Wired]]:
    machine = Machine(2 * 128 * MIB + 96 * MIB, scatter=1)
    free = machine.free_memory
    try:
        one, other = Wired(machine, 1), Wired(machine, 2)
        one.port.join(other.port)
        for wired in (one, other):
            wired.shell.domain.start()
        for wired in (one, other):
            wired.plug()
        yield one, other
        for wired in (one, other):
            wired.shell.domain.handle.stop()
            assert wired.shell.domain.handle.audit() == []
            assert wired.shell.domain.destroy()
        assert machine.free_memory == free
    finally:
        machine.close()
        one.port.part()


def test_stock_guests_have_four_queues_frames_of_9000_bytes_and_segments_to_cut(pair: tuple[Wired, Wired]) -> None:
    one, other = pair
    assert one.reaches(other)
    for sender, receiver in ((one, other), (other, one)):
        before = receiver.card.statistics
        number = receiver.shell.begin("nc -l -p 5000 | md5sum")
        told = sender.do(f"seq {NUMBERS} >/tmp/data; md5sum </tmp/data")
        sender.do(f"nc 10.0.0.{receiver.number} 5000 </tmp/data")
        assert receiver.shell.finish(number) == (0, told)
        after = receiver.card.statistics
        assert after["received_gso"] > before["received_gso"]
        assert after["received_bytes"] - before["received_bytes"] > MANY
        assert not after["received_errors"] and not sender.card.statistics["sent_errors"]
    # One flow is one queue's; forty are everybody's.
    one.do("for port in $(seq 40); do nc 10.0.0.2 $port </dev/null 2>/dev/null; done; true")
    for wired in pair:
        interrupts = re.findall(r"(\d+) .*vif0-q\d-rx", wired.do("cat /proc/interrupts"))
        assert len(interrupts) == wired.card.statistics["queues"] == QUEUES and "0" not in interrupts


def test_a_program_on_a_card_sees_each_frame_before_its_kernel_does(pair: tuple[Wired, Wired]) -> None:
    one, other = pair
    for wired in pair:
        wired.do("ip link set eth0 mtu 1500")
    for _ in range(2):
        process = other.do("xdp eth0 77").strip()  # which drops pings of that length
        for length, passes in ((76, True), (77, False), (78, True), (77, False), (1400, True)):
            assert (one.run(f"ping -c 1 -W 2 -s {length} 10.0.0.2")[0] == 0) is passes
        number = other.shell.begin("nc -l -p 5003 | md5sum")
        told = one.do(f"seq {NUMBERS} >/tmp/data; md5sum </tmp/data")
        one.do("nc 10.0.0.2 5003 </tmp/data")
        assert other.shell.finish(number) == (0, told)
        assert other.card.statistics["received_cut"] > 0  # it would not see frames of several pages
        other.do(f"kill {process}; while kill -0 {process} 2>/dev/null; do sleep 0.05; done")
        assert one.run("ping -c 1 -W 5 -s 77 10.0.0.2")[0] == 0
        assert other.card.wait(XenbusState.CONNECTED, LIMIT)
    for wired in pair:
        wired.do("ip link set eth0 mtu 9000")


def test_a_card_is_cut_off_let_go_and_taken_up_again_and_unplugged_and_plugged_in(pair: tuple[Wired, Wired]) -> None:
    one, other = pair
    other.card.set_carrier(False)
    assert not one.reaches(other)
    assert other.card.statistics["no_carrier"] > 0
    assert other.do("cat /sys/class/net/eth0/carrier") == "1\n"  # Linux's netfront does not look at the key
    other.card.set_carrier(True)
    assert one.reaches(other)
    other.do("echo vif-0 >/sys/bus/xen/drivers/vif/unbind")
    assert not one.reaches(other)
    other.do("echo vif-0 >/sys/bus/xen/drivers/vif/bind")
    other.address()
    assert one.reaches(other)
    assert other.card.unplug(LIMIT)
    other.do("while [ -e /sys/class/net/eth0 ]; do sleep 0.05; done")
    other.plug()
    assert one.reaches(other)


def test_guests_are_frozen_many_times_while_one_sends_to_the_other(pair: tuple[Wired, Wired]) -> None:
    one, other = pair
    for wired in pair:
        # Debian's netfront loses the pages that it had posted, a megabyte for each queue, whenever it is connected
        # anew; with netback at the other end, too.
        wired.do("echo 1 >/sys/module/xen_netfront/parameters/max_queues")
    check = "awk '$1 != NR { wrong++ } END { print NR, wrong + 0 >\"/tmp/result\" }'"
    other.do(f"(sleep 1000 | nc -l -p 5001 | {check} &)")
    lines = "i=1; while ! [ -e /tmp/stop ]; do seq $i $((i + 999)); i=$((i + 1000)); done"
    one.do(f"sleep 0.5; ({{ {lines}; echo $i >/tmp/sent; }} | nc 10.0.0.2 5001 &)")
    for number in range(TIMES):
        frozen_one = pair[number % 2]
        domain = frozen_one.shell.domain
        before = frozen_one.card.statistics
        domain = frozen_one.shell.domain = frozen_one.machine.rebuild(domain.freeze(LIMIT))
        domain.start()
        end = time.monotonic() + LIMIT
        while frozen_one.card.statistics["received"] < 10:
            assert time.monotonic() < end and domain.runs, "no traffic after a freeze"
            time.sleep(0.01)
        after = frozen_one.card.statistics
        assert after["queues"] == 1 and all(after[name] == before[name] for name in ("mac", "fault", "name"))
    sent = int(one.do("touch /tmp/stop; until [ -s /tmp/sent ]; do sleep 0.1; done; cat /tmp/sent")) - 1
    assert sent > TIMES * 100
    assert other.do("until [ -s /tmp/result ]; do sleep 0.1; done; cat /tmp/result") == f"{sent} 0\n"


def test_a_card_is_unplugged_in_the_middle_of_traffic_and_another_takes_its_place(pair: tuple[Wired, Wired]) -> None:
    one, other = pair
    other.do(
        "(tail -f /dev/null | nc -l -p 5002 >/dev/null &); until netstat -ltn | grep -q :5002; do sleep 0.05; done"
    )
    one.do("nc 10.0.0.2 5002 </dev/zero >/dev/null 2>&1 &")
    for wired in (other, one, other):  # who is sent to, and who sends
        gone = wired.card
        crossing(gone)
        before = gone.statistics
        assert gone.unplug(LIMIT)
        after = gone.statistics
        assert gone.removed and after["state"] == "closed" and after["fault"] == ""
        assert all(after[name] >= before[name] for name in before if name.startswith(("sent", "received")))
        assert not after["sent_errors"] and not after["received_errors"]
        wired.do("while [ -e /sys/class/net/eth0 ]; do sleep 0.05; done")
        wired.plug()
    crossing(other.card)  # by the connection that there was
    assert one.reaches(other)
    one.do("killall nc")
    other.do("killall tail; while pidof nc; do sleep 0.05; done")


def crossing(card: NetworkCard) -> None:
    """Wait until many frames have gone each way."""
    end = time.monotonic() + LIMIT
    while min(card.statistics["sent"], card.statistics["received"]) < CROSSING:
        assert time.monotonic() < end, "no traffic"
        time.sleep(0.01)
