"""A guest and its verbs, with the tiny guest that is built in."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest

from xenia.abi.xen import DOMID_FIRST_RESERVED
from xenia.domain.build.elf import load_elf
from xenia.errors import ConfigError
from xenia.guests import embedded
from xenia.shutdown import Reason
from xenia.storage.memory import Memory
from xenia.toolstack.config.disk import parse_disk
from xenia.toolstack.config.machine import MIB, MachineConfig
from xenia.toolstack.guest.build import Build, Rebuild
from xenia.toolstack.guest.guest import Guest
from xenia.toolstack.guest.memory_verbs import SetMemory
from xenia.toolstack.guest.sched_verbs import PinVcpu, SetShare
from xenia.toolstack.guest.vcpu_verbs import SetVcpus
from xenia.toolstack.guest.verbs import AttachDevice, Destroy, DetachDevice, ResizeDisk, Start, Wait
from xenia.toolstack.machine.machine import Machine
from xenia.toolstack.machine.sched import Share
from xenia.toolstack.provision.boot import Boot

LIMIT = 60

pytestmark = pytest.mark.skipif(embedded() is None, reason="the built-in guest is not built: no C compiler for x86-64")


def boot() -> Boot:
    image = embedded()
    assert image is not None
    return Boot(load_elf(image.read_bytes(), "demo"), b"", "")


def ignore(_: bytes) -> None:
    """The console."""


@pytest.fixture
def guest() -> Iterator[Guest]:
    disks = (parse_disk("memory:1M"), parse_disk("memory:2M,vdev=xvdd,ro"))
    guest = Guest(MachineConfig(kernel="demo", memory=16 * MIB, disks=disks))
    guest.do(Build(boot(), ignore))
    yield guest
    guest.do(Destroy())


def names(guest: Guest) -> list[str]:
    return [disk.name for disk in guest.require_domain().disks]


def reboot(guest: Guest) -> None:
    guest.do(Start())
    guest.require_domain().console.send(b"reboot\r")
    shutdown = guest.do(Wait(LIMIT))
    assert shutdown is not None and shutdown.reason is Reason.REBOOT


def test_disks_go_on_in_the_next_life_as_they_were(guest: Guest) -> None:
    guest.do(AttachDevice(parse_disk("memory:3M")))
    guest.disk("xvdb").layer.pwrite(b"kept", 0)
    guest.do(ResizeDisk("xvdb", 4 * MIB))
    reboot(guest)
    guest.do(Rebuild(boot(), ignore))
    assert names(guest) == ["xvda", "xvdd", "xvdb"]
    layer = guest.disk("xvdb").layer
    assert layer.pread(0, 4) == b"kept" and layer.size == 4 * MIB
    reboot(guest)


def test_a_disk_is_cut_only_when_that_is_asked_for(guest: Guest) -> None:
    with pytest.raises(ConfigError, match=r"to cut it to 524288 loses what is behind \(--shrink\)"):
        guest.do(ResizeDisk("xvda", MIB // 2))
    assert guest.disk("xvda").layer.size == MIB
    assert guest.do(ResizeDisk("xvda", MIB // 2, shrink=True)) == MIB // 2


@pytest.mark.parametrize("size", [0, 64, 4 * MIB + 511])
def test_a_disk_has_whole_sectors(size: int, guest: Guest) -> None:
    with pytest.raises(ConfigError, match="has sectors of 512 bytes"):
        guest.do(ResizeDisk("xvda", size, shrink=True))


@pytest.mark.parametrize("name", ["hda", "sda", "xvda1", "d0p3"])
def test_two_disks_in_one_place_of_the_guest_are_refused(name: str, guest: Guest) -> None:
    with pytest.raises(ConfigError, match=f"a guest has one place for xvda and {name}: call one of them xvdb"):
        guest.do(AttachDevice(parse_disk(f"memory:1M,vdev={name}")))


def test_the_next_life_has_the_next_number_and_after_the_last_comes_the_first(guest: Guest) -> None:
    guest.require_domain().handle.machine.next_domid = DOMID_FIRST_RESERVED - 1
    numbers = []
    for _ in range(3):
        numbers.append(guest.require_domain().domid)
        gc.collect()  # a number is taken as long as anybody knows its domain
        reboot(guest)
        guest.do(Rebuild(boot(), ignore))
        assert names(guest) == ["xvda", "xvdd"]
    assert numbers == [1, DOMID_FIRST_RESERVED - 1, 1]


def test_the_next_life_has_what_the_guest_was_given_since() -> None:
    with Machine(Machine.memory_for(32 * MIB), scheduler="credit2", pcpus=2) as machine:
        guest = Guest(MachineConfig(kernel="demo", memory=16 * MIB, max_vcpus=2), machine)
        guest.do(Build(boot(), ignore))
        guest.do(SetMemory(12 * MIB))
        guest.do(SetMemory(24 * MIB, True))
        guest.do(SetVcpus(2))
        guest.do(SetShare(512, 50))
        guest.do(PinVcpu(1, "1", "0"))
        before = guest.require_domain()
        share, both = before.sched.share, frozenset({0, 1})
        reboot(guest)
        guest.do(Rebuild(boot(), ignore))
        domain = guest.require_domain()
        assert domain is not before and domain.memory.size == domain.memory_target == 12 * MIB
        assert (domain.max_memory, domain.nr_vcpus, domain.max_vcpus) == (24 * MIB, 2, 2)
        assert domain.sched.share == share == Share(512, 50, ((both, both), (frozenset({1}), frozenset({0}))))
        guest.do(SetMemory(4096 << 30 << 10, True))  # more than there is
        reboot(guest)
        guest.do(Rebuild(boot(), ignore))
        assert guest.require_domain().max_memory == machine.total_memory
        guest.do(Destroy())


class Meddler(Memory):
    """A disk whose end brings that of another with it."""

    def __init__(self, other: Callable[[], object]) -> None:
        super().__init__(MIB)
        self._other = other

    def unwatch(self, changed: Callable[[int], None]) -> None:
        super().unwatch(changed)
        self._other()


def test_a_disk_that_is_detached_while_the_guest_reboots_is_gone() -> None:
    guest = Guest(MachineConfig(kernel="demo", memory=16 * MIB))
    guest.do(Build(boot(), ignore))
    domain = guest.require_domain()
    meddler = Meddler(lambda: domain.disks[1].remove())
    domain.attach_disk(meddler)
    guest.do(AttachDevice(parse_disk("memory:1M")))
    reboot(guest)
    guest.do(Rebuild(boot(), ignore))
    assert domain.disks[1].removed and names(guest) == ["xvda"]
    guest.do(Destroy())
    assert meddler.closed


def test_a_disk_can_be_detached_only_where_it_is(guest: Guest) -> None:
    with pytest.raises(ConfigError, match=r"there is no disk xvdq \(xvda, xvdd\)"):
        guest.do(DetachDevice("disk", "xvdq", 0))
    guest.do(DetachDevice("disk", "xvda", LIMIT))  # no frontend has it yet
    assert guest.do(AttachDevice(parse_disk("memory:1M"))) == "xvda"
    with pytest.raises(ConfigError, match="there is a disk xvdd already"):
        guest.do(AttachDevice(parse_disk("memory:1M,vdev=xvdd")))
