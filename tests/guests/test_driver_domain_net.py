"""One stock kernel's xen-netback serves network cards to others' netfront, over grants and events between them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.guests.shell import LIMIT, Shell
from xenia.abi.xenbus import XenbusState
from xenia.errors import ConfigError
from xenia.toolstack.config.machine import MIB
from xenia.toolstack.devices.served_vif import ServedVif
from xenia.toolstack.machine.machine import Machine
from xenia.toolstack.provision.packages import PackageClient

pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(not PackageClient.available(), reason="no apt-get on this host to fetch Debian's kernel with"),
]
GRANT_TABLE = 64 << 12
BRIDGE = "ip link add br0 type bridge && ip link set br0 up && ip addr add 10.7.0.1/24 dev br0"
SEND = "head -c 4194304 /dev/urandom > /tmp/data; md5sum < /tmp/data; nc -w 60 %s 7000 < /tmp/data"


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine(Machine.memory_for(*[128 * MIB] * 4), scatter=7) as machine:
        free = machine.free_memory
        yield machine
    assert machine.free_memory == free


def driver_domain(machine: Machine, name: str) -> Shell:
    driver = Shell(machine, name, ("xen-netback", "bridge"), driver_domain=True)
    driver.domain.start()
    driver.do(BRIDGE)
    return driver


@pytest.fixture(scope="module")
def started(machine: Machine) -> tuple[Shell, list[Shell]]:
    """All three, on their way up at the same time."""
    guests = [Shell(machine, f"guest{number}", ("xen-netfront",)) for number in (2, 3)]
    for guest in guests:
        guest.domain.start()
    return driver_domain(machine, "driver"), guests


@pytest.fixture(scope="module")
def driver(started: tuple[Shell, list[Shell]]) -> Iterator[Shell]:
    yield started[0]
    assert_sound(started[0])


@pytest.fixture(scope="module")
def guests(started: tuple[Shell, list[Shell]]) -> Iterator[list[Shell]]:
    driver, guests = started
    for number, guest in enumerate(guests, 2):
        plug(driver, guest, guest.domain.attach_vif_of(driver.domain), f"10.7.0.{number}")
    yield guests
    for guest in guests:
        assert_sound(guest)


def plug(driver: Shell, guest: Shell, vif: ServedVif, address: str, name: str = "eth0") -> None:
    """Let both ends come up."""
    assert vif.wait(XenbusState.CONNECTED, LIMIT)
    driver.do(f"ip link set {vif.interface} master br0 up")
    guest.do(f"until [ -e /sys/class/net/{name} ]; do sleep 0.1; done")
    guest.do(f"ip addr add {address}/24 dev {name}; ip link set {name} up")


def assert_sound(shell: Shell) -> None:
    """The recount of a domain's frames finds no difference.  It does not run any more afterwards."""
    shell.domain.handle.stop()
    assert shell.domain.handle.audit() == []


def test_guests_reach_each_other_and_the_driver_domain_over_its_bridge(driver: Shell, guests: list[Shell]) -> None:
    first, second = guests
    macs = [guest.do("cat /sys/class/net/eth0/address").strip() for guest in guests]
    assert len({*macs}) == 2 and all(mac.startswith("00:16:3e:") for mac in macs)
    first.do("ping -c 3 -i 0.2 -s 1400 10.7.0.3 && ping -c 1 10.7.0.1")
    for sender, receiver, address in (
        (first, second, "10.7.0.3"),
        (first, driver, "10.7.0.1"),
        (driver, first, "10.7.0.2"),
    ):
        hearing = receiver.begin("nc -l -p 7000 | md5sum")
        sent = sender.do(f"until {SEND % address}; do sleep 0.1; done").split()[-2]
        assert receiver.finish(hearing)[1].split()[0] == sent


def test_a_card_is_plugged_and_unplugged_while_both_run(driver: Shell, guests: list[Shell]) -> None:
    guest = guests[0]
    vif = guest.domain.attach_vif_of(driver.domain, mac="00:16:3e:11:22:33", bridge="br0")
    assert (vif.name, vif.interface) == ("vif1", f"vif{guest.domain.domid}.1")
    with pytest.raises(ConfigError, match="there is a network card 1 already"):
        guest.domain.attach_vif_of(driver.domain, number=1)
    assert vif.wait(XenbusState.CONNECTED, LIMIT)
    guest.do("until [ -e /sys/class/net/eth1 ]; do sleep 0.1; done")
    assert guest.do("cat /sys/class/net/eth1/address").strip() == "00:16:3e:11:22:33"
    assert [card["mac"] for card in guest.domain.statistics["served_vifs"]][1:] == ["00:16:3e:11:22:33"]
    assert vif.unplug(LIMIT) and vif.removed
    guest.do("until [ ! -e /sys/class/net/eth1 ]; do sleep 0.1; done; ping -c 1 10.7.0.1")
    driver.do(f"until [ ! -e /sys/class/net/{vif.interface} ]; do sleep 0.1; done")


def test_when_a_driver_domain_dies_under_load_its_card_goes_and_the_others_are_as_before(
    machine: Machine, guests: list[Shell]
) -> None:
    free = machine.free_memory
    driver = driver_domain(machine, "mortal")
    guest = guests[1]
    guest.do("ip link set eth0 down; ip addr flush dev eth0")
    card = guest.domain.attach_vif_of(driver.domain)
    plug(driver, guest, card, "10.7.0.9", "eth1")
    driver.do("nc -l -p 7000 > /dev/null &")
    driver.do("until grep -qs :1B58 /proc/net/tcp /proc/net/tcp6; do sleep 0.1; done")  # it listens
    guest.do("nc 10.7.0.1 7000 < /dev/zero &")
    driver.do("until [ $(cat /sys/class/net/br0/statistics/rx_packets) -gt 500 ]; do sleep 0.1; done")
    driver.domain.destroy()
    guest.do("until [ ! -e /sys/class/net/eth1 ]; do sleep 0.1; done; killall nc")
    guest.do("ip link set eth0 up; ip addr add 10.7.0.3/24 dev eth0")
    assert card.removed and free - machine.free_memory <= GRANT_TABLE  # the guest's may have grown
    guest.do("ping -c 1 10.7.0.2")
