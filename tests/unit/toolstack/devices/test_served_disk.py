"""The toolstack's part of a disk that another domain serves; both domains are played by the tests."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from xenia.abi.blkif import BLKIF_REQUEST, XEN_IO_PROTO_ABI_X86_64, Operation, Status
from xenia.abi.xenbus import XenbusState
from xenia.errors import ConfigError
from xenia.guests import embedded
from xenia.rings.request import Back, Front
from xenia.testing.foreign import MemoryForeign, MemoryGuest
from xenia.toolstack.config.device import NoBacking
from xenia.toolstack.config.machine import MIB
from xenia.toolstack.devices.caretaker import Caretaker, Silence
from xenia.toolstack.devices.physical_device import physical_device
from xenia.toolstack.devices.served_disk import ServedDisk, ServedDiskConfig
from xenia.toolstack.machine.machine import Machine
from xenia.toolstack.machine.store_layout import write_backend_home
from xenia.xenbus.directories import Address
from xenia.xenstore.client import Client
from xenia.xenstore.server import Server
from xenia.xenstore.store import Store

TIMEOUT = 30
S = XenbusState
ADDRESS = Address("vbd", 5, 51712, 3)
FRONT, BACK = ADDRESS.frontend_path, ADDRESS.backend_path


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(Store()) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Client:
    return server.client()


@pytest.fixture
def guest() -> Iterator[MemoryGuest]:
    guest = MemoryGuest(5)
    yield guest
    guest.assert_let_go()
    guest.close()


Plug = Callable[..., ServedDisk]


@pytest.fixture
def plug(server: Server, client: Client, guest: MemoryGuest) -> Iterator[Plug]:
    plugged: list[ServedDisk] = []
    client.atomically(lambda keys: write_backend_home(keys, 3))

    def plugged_in(*, runs: bool = True) -> ServedDisk:
        disk = ServedDisk(
            server.client(),
            ServedDiskConfig(driver=3, params="/dev/loop0", name="xvda"),
            ADDRESS,
            lambda: MemoryForeign(guest),
            NoBacking(),
            is_served=lambda: runs,
        )
        plugged.append(disk)
        return disk

    yield plugged_in
    for disk in plugged:
        client.write(f"{BACK}/state", "1")  # nobody will let go of it
        disk.remove()


class Reached:
    """Waits until a key has a value."""

    def __init__(self, client: Client, path: str, value: str) -> None:
        self._there = threading.Event()
        watch = client.watch(path, lambda _: self._there.set() if client.get(path) == value else None)
        assert self._there.wait(TIMEOUT), f"{path} is {client.get(path)}"
        watch.close()


def connected(client: Client, disk: ServedDisk) -> None:
    """Both ends come up, as their kernels would do it."""
    client.write(f"{BACK}/sectors", "2048")
    for state, path in ((S.INIT_WAIT, BACK), (S.INITIALISED, FRONT), (S.CONNECTED, BACK), (S.CONNECTED, FRONT)):
        client.write(f"{path}/state", str(int(state)))
    assert disk.wait(S.CONNECTED, TIMEOUT)


@pytest.mark.parametrize(
    ("node", "number", "value"),
    [
        ("/dev/loop0", None, "7:0"),
        ("/dev/loop12", None, "7:c"),
        ("/dev/ram1", None, "1:1"),
        ("/dev/xvda", None, "ca:0"),
        ("/dev/xvdb3", None, "ca:13"),
        ("/dev/nbd2", None, "2b:2"),
        ("/dev/mapper/data", "254:17", "fe:11"),
        ("/dev/loop0", "7:1", "7:1"),
    ],
)
def test_the_number_of_a_node(node: str, number: str | None, value: str) -> None:
    assert physical_device(node, number) == value


@pytest.mark.parametrize(
    ("node", "number"), [("/dev/dm-0", None), ("loop0", None), ("/dev/xvda99", None), ("/dev/loop0", "7"), ("x", "a:b")]
)
def test_a_number_that_is_not_known(node: str, number: str | None) -> None:
    with pytest.raises(ConfigError, match="MAJOR:MINOR"):
        physical_device(node, number)


def test_both_ends_find_what_xl_writes(client: Client, plug: Plug) -> None:
    plug()
    frontend = {name: client.read(f"{FRONT}/{name}") for name in client.directory(FRONT)}
    assert frontend == {
        "backend": "/local/domain/3/backend/vbd/5/51712",
        "backend-id": "3",
        "device-type": "disk",
        "state": "1",
        "virtual-device": "51712",
    }
    backend = {name: client.read(f"{BACK}/{name}") for name in client.directory(BACK)}
    assert backend == {
        "bootable": "1",
        "dev": "xvda",
        "device-type": "disk",
        "discard-enable": "1",
        "frontend": "/local/domain/5/device/vbd/51712",
        "frontend-id": "5",
        "hotplug-status": "connected",
        "mode": "w",
        "online": "1",
        "params": "/dev/loop0",
        "physical-device": "7:0",
        "removable": "0",
        "state": "1",
        "type": "phy",
    }
    assert client.permissions(f"{FRONT}/state").entries() == ["n5", "r3"]
    assert client.permissions(f"{BACK}/state").entries() == ["n3", "r5"]
    assert client.permissions("/local/domain/3/backend").entries() == ["n3"]


def test_unplugging_asks_both_and_ends_when_the_backend_has_let_go(client: Client, plug: Plug) -> None:
    disk = plug()
    connected(client, disk)
    assert not disk.unplug(0)
    assert (client.read(f"{BACK}/state"), client.read(f"{BACK}/online")) == ("5", "0")
    client.write(f"{FRONT}/state", "6")
    client.write(f"{BACK}/state", "6")
    assert disk.unplug(TIMEOUT) and disk.removed
    assert not client.exists(FRONT) and not client.exists(BACK)


def test_a_disk_that_never_connected_is_unplugged_at_once(client: Client, plug: Plug) -> None:
    disk = plug()
    assert disk.unplug(TIMEOUT)
    assert not client.exists(FRONT) and not client.exists(BACK)


def test_a_dead_guests_disk_goes_when_the_backend_has_let_go(client: Client, plug: Plug) -> None:
    disk = plug()
    connected(client, disk)
    removing = threading.Thread(target=disk.remove)
    removing.start()
    Reached(client, f"{FRONT}/state", "6")
    assert client.read(f"{BACK}/online") == "0" and not disk.removed
    client.write(f"{BACK}/state", "6")
    removing.join(TIMEOUT)
    assert disk.removed and not client.exists(FRONT) and not client.exists(BACK)


def test_nobody_waits_for_a_driver_domain_that_does_not_run(client: Client, plug: Plug) -> None:
    disk = plug(runs=False)
    connected(client, disk)
    disk.remove()
    assert disk.removed and not client.exists(BACK)


class Orphan:
    """A frontend with a ring, whose backend answered the first of three requests and died."""

    def __init__(self, client: Client, guest: MemoryGuest) -> None:
        self.pages, self.port = guest.share(), guest.open_port()
        self.ring = Front(self.pages.memory, BLKIF_REQUEST.size)
        self.data = guest.share()
        client.write(f"{FRONT}/ring-ref", str(self.pages.refs[0]))
        client.write(f"{FRONT}/event-channel", str(self.port.number))
        client.write(f"{FRONT}/protocol", XEN_IO_PROTO_ABI_X86_64)
        for number in range(3):
            self.put(number)
        dead = Back(self.pages.memory, BLKIF_REQUEST.size)
        dead.take()
        dead.put(self.response(0, Status.OKAY))
        dead.push()
        dead.close()

    def put(self, number: int, operation: Operation = Operation.WRITE) -> None:
        head = struct.pack("<BBHxxxxQQ", operation, operation is Operation.WRITE, 0, number, 8 * number)
        self.ring.put(head + struct.pack("<IBBxx", self.data.refs[0], 0, 7))
        if self.ring.push():
            self.port.notify()

    @staticmethod
    def response(number: int, status: Status, operation: Operation = Operation.WRITE) -> bytes:
        return struct.pack("<QBxh", number, operation, status)

    def answers(self, wanted: int) -> list[bytes]:
        taken: list[bytes] = []
        while len(taken) < wanted:
            taken += [response[:12] for response in self.ring.take()]
            if len(taken) < wanted and not self.ring.rest():
                assert self.port.wait(TIMEOUT)
        return taken


def test_what_a_dead_driver_domain_left_is_answered_with_errors(client: Client, plug: Plug, guest: MemoryGuest) -> None:
    disk = plug()
    orphan = Orphan(client, guest)
    connected(client, disk)
    client.remove("/local/domain/3")
    disk.abandon()
    answers = orphan.answers(3)
    assert answers[0] == Orphan.response(0, Status.OKAY)
    assert sorted(answers[1:]) == [Orphan.response(number, Status.ERROR) for number in (1, 2)]
    orphan.put(3, Operation.FLUSH_DISKCACHE)
    assert orphan.answers(1) == [Orphan.response(3, Status.ERROR, Operation.FLUSH_DISKCACHE)]
    Reached(client, f"{BACK}/state", "5")  # nothing was asked for a while
    client.write(f"{FRONT}/state", "6")
    assert disk.unplug(TIMEOUT) and disk.removed
    assert not client.exists(FRONT) and not client.exists("/local/domain/3")
    orphan.ring.close()


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_silence_is_as_long_as_nothing_was_counted() -> None:
    clock = Clock()
    silence = Silence(0.3, clock)
    heard = []
    for at, number in ((10.0, 5), (10.29, 5), (10.3, 6), (10.59, 6), (10.61, 6), (10.7, 7)):
        clock.now = at
        heard.append(silence.lasts(number))
    assert heard == [False, False, False, False, True, False]


def test_a_caretaker_stays_until_its_clock_says_that_nothing_was_asked_for_a_while(
    client: Client, plug: Plug, guest: MemoryGuest
) -> None:
    disk = plug()
    orphan = Orphan(client, guest)
    connected(client, disk)
    client.remove("/local/domain/3")
    clock, looked = Clock(), threading.Semaphore(0)

    class Watched(Silence):
        def lasts(self, number: int) -> bool:
            looked.release()
            return super().lasts(number)

    caretaker = Caretaker(client, ADDRESS, MemoryForeign(guest), 2048, Watched(0.3, clock))
    assert len(orphan.answers(3)) == 3
    for _ in range(3):
        assert looked.acquire(timeout=TIMEOUT)
    assert caretaker.attachment.state is S.CONNECTED  # time stands still
    clock.now = 1.0
    Reached(client, f"{BACK}/state", "5")
    caretaker.close()
    orphan.ring.close()


@pytest.mark.parametrize("size", ["9" * 400, "-1", "\N{SUPERSCRIPT TWO}", "", "999999999999999"])
def test_a_size_that_no_disk_has_does_no_harm(client: Client, plug: Plug, guest: MemoryGuest, size: str) -> None:
    disk = plug()
    orphan = Orphan(client, guest)
    connected(client, disk)
    client.write(f"{BACK}/sectors", size)
    client.write(f"{BACK}/state", "4")
    client.remove("/local/domain/3")
    disk.abandon()
    assert len(orphan.answers(3)) == 3
    orphan.ring.close()


def test_a_frontend_without_a_ring_is_closed_when_its_driver_domain_dies(client: Client, plug: Plug) -> None:
    disk = plug()
    client.remove("/local/domain/3")
    disk.abandon()
    assert disk.unplug(TIMEOUT) and not client.exists(FRONT)


def test_a_guest_may_die_after_its_driver_domain(client: Client, plug: Plug, guest: MemoryGuest) -> None:
    disk = plug()
    orphan = Orphan(client, guest)
    connected(client, disk)
    client.remove("/local/domain/3")
    disk.abandon()
    disk.remove()
    disk.remove()
    assert disk.removed and not client.exists(FRONT) and not client.exists("/local/domain/3")
    orphan.ring.close()


@pytest.mark.skipif(embedded() is None, reason="the built-in guest is not built: no C compiler for x86-64")
def test_disks_are_served_by_driver_domains_alone() -> None:
    image = embedded()
    assert image is not None
    with Machine(Machine.memory_for(*[16 * MIB] * 3)) as machine:
        plain = machine.create_domain(image, name="plain", memory=16 * MIB)
        driver = machine.create_domain(image, name="driver", memory=16 * MIB, driver_domain=True)
        guest = machine.create_domain(image, name="guest", memory=16 * MIB)
        for other in (plain, guest):
            with pytest.raises(ConfigError, match="serves no disks"):
                guest.attach_disk_of(other, "/dev/loop0")
        disk = guest.attach_disk_of(driver, "/dev/loop0")
        assert disk.name == "xvda"
        with pytest.raises(ConfigError, match="there is a disk xvda already"):
            guest.attach_disk_of(driver, "/dev/loop1", name="xvda")
        with pytest.raises(ConfigError, match="'floppy' is no disk's name"):
            guest.attach_disk_of(driver, "/dev/loop1", name="floppy")
        scripted = guest.attach_disk_of(driver, "/dev/mapper/data", script="block")
        keys = set(machine.xenstore.directory(scripted.address.backend_path))
        assert "script" in keys and not keys & {"physical-device", "hotplug-status"}
        driver.destroy()
        assert disk.unplug(TIMEOUT) and scripted.unplug(TIMEOUT)
        with pytest.raises(ConfigError, match="is gone"):
            guest.attach_disk_of(driver, "/dev/loop0")
