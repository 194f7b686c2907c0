"""The host refuses, at each step in turn: everything else is given back, and every other disk is whole."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults import Faults, each_fault
from tests.unit.toolstack.guest.test_guest import boot, ignore
from xenia.errors import ConfigError
from xenia.guests import embedded
from xenia.storage.stack import create_stack, open_stack
from xenia.toolstack.config.disk import parse_disk
from xenia.toolstack.config.machine import MIB, MachineConfig
from xenia.toolstack.disks.disk import convert
from xenia.toolstack.guest.build import Build
from xenia.toolstack.guest.guest import Guest
from xenia.toolstack.guest.state import State
from xenia.toolstack.guest.verbs import AttachDevice, Destroy, DetachDevice
from xenia.toolstack.machine.domain import Domain
from xenia.toolstack.machine.machine import Machine
from xenia.xenstore.error import StoreError

MEMORY = 8 * MIB
SIZE = 1 << 20
REFUSED = (ConfigError, OSError, StoreError)

pytestmark = pytest.mark.skipif(embedded() is None, reason="the built-in guest is not built: no C compiler for x86-64")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def nodes(machine: Machine, path: str = "") -> set[str]:
    """Every node of the store."""
    below = {f"{path}/{name}" for name in machine.xenstore.directory(path or "/")}
    return below.union(*(nodes(machine, one) for one in below))


def create(machine: Machine) -> Domain:
    image = embedded()
    assert image is not None
    return machine.create_domain(image, memory=MEMORY)


def test_a_machine_that_cannot_be_made_takes_nothing() -> None:
    def make(faults: Faults) -> None:
        with faults:
            machine = Machine(Machine.memory_for(MEMORY), xenstore_socket="socket")
        machine.close()

    for faults in each_fault():
        with suppress(*REFUSED):
            make(faults)
        assert not Path("socket").exists()


def test_a_domain_that_cannot_be_created_leaves_the_machine_as_it_was() -> None:
    def scene(faults: Faults) -> None:
        with Machine(Machine.memory_for(MEMORY)) as machine:
            create(machine).destroy()  # the store's upper directories stay
            free, known = machine.free_memory, nodes(machine)
            try:
                with faults:
                    domain = create(machine)
            except REFUSED:
                assert faults.happened
            else:
                domain.destroy()
            assert machine.free_memory == free and nodes(machine) == known
            create(machine)

    for faults in each_fault():
        scene(faults)


def test_a_guest_that_cannot_be_built_takes_nothing_and_leaves_its_disks() -> None:
    create_stack("a.qcow2", SIZE)
    disks = (parse_disk("a.qcow2"), parse_disk("memory:1M,vdev=xvdd"))
    loaded = boot()

    def scene(faults: Faults) -> None:
        guest = Guest(MachineConfig(kernel="demo", memory=MEMORY, disks=disks))
        with suppress(*REFUSED), faults:
            guest.do(Build(loaded, ignore))
        with suppress(*REFUSED):
            guest.do(Destroy())
        with open_stack("a.qcow2"):
            pass  # nobody has it

    for faults in each_fault():
        scene(faults)


def test_a_disk_that_cannot_be_attached_or_detached_leaves_the_guest_as_it_was() -> None:
    create_stack("a.qcow2", SIZE)
    config = parse_disk("qcow2:a.qcow2,cache")
    loaded = boot()
    guest = Guest(MachineConfig(kernel="demo", memory=MEMORY))
    guest.do(Build(loaded, ignore))
    assert guest.machine is not None
    guest.do(DetachDevice("disk", guest.do(AttachDevice(config)), 20))  # the store's upper directories stay
    known = nodes(guest.machine)
    for faults in each_fault():
        try:
            with faults:
                name = guest.do(AttachDevice(config))
        except REFUSED:
            assert faults.happened
            assert nodes(guest.machine) == known or faults.happened == "atomically"
            name = guest.do(AttachDevice(config))
        assert name == "xvda"
        try:
            with faults:
                guest.do(DetachDevice("disk", name, 20, force=True))
        except REFUSED:
            assert faults.happened
            with suppress(ConfigError):
                guest.do(DetachDevice("disk", name, 20, force=True))
        with open_stack("a.qcow2"):
            pass
    guest.do(Destroy())
    assert guest.state is State.DESTROYED


DISKS = ("file:a.raw", "b.qcow2", "file:c.raw,cache:writeback", "file:d.raw,cow:over.cow", "file:e.raw,checkpoint")


def data(index: int) -> bytes:
    return bytes([index + 1]) * 70000


def test_one_disk_that_fails_to_close_takes_no_other_with_it() -> None:
    loaded = boot()
    for name in "abcde":
        create_stack(f"{name}.qcow2" if name == "b" else f"file:{name}.raw", SIZE)

    def scene(faults: Faults, number: int) -> None:
        guest = Guest(MachineConfig(kernel="demo", memory=MEMORY, disks=tuple(map(parse_disk, DISKS))))
        guest.do(Build(loaded, ignore))
        domain, machine = guest.require_domain(), guest.machine
        assert machine is not None
        for index, disk in enumerate(domain.disks):
            disk.layer.pwrite(data(index + number), 5000)
        said = ""
        try:
            with faults:
                guest.do(Destroy())
        except REFUSED as failure:
            said = str(failure)
        lost = re.findall(r"the disk (xvd.) did not close: ", said)
        assert len(lost) <= 1 and "\n" not in said
        if faults.happened in ("fdatasync", "pwritev", "fallocate", "ftruncate", "preadv"):
            assert lost, said
        for index, disk in enumerate(domain.disks):
            assert disk.removed and disk.layer.closed
            with open_stack(DISKS[index]) as layer:
                if disk.name not in lost:
                    assert layer.pread(5000, 70000) == data(index + number), (disk.name, faults.happened)

    for number, faults in enumerate(each_fault()):
        scene(faults, number)


@pytest.mark.parametrize(
    ("target", "there"), [("new.raw", False), ("new.raw", True), ("new.qcow2", False), ("file:new.raw,compress", True)]
)
def test_a_copy_that_fails_leaves_no_half_target(target: str, there: bool) -> None:
    contents = b"".join(bytes([index]) * (100 << 10) for index in range(1, 12))
    Path("old.raw").write_bytes(contents[:SIZE])
    for faults in each_fault():
        new = Path("new.qcow2" if target.endswith("qcow2") else "new.raw")
        new.unlink(missing_ok=True)
        if there:
            new.write_bytes(b"before")
        try:
            with faults:
                convert("old.raw", target, replace=True)
        except ConfigError:
            assert faults.happened
            if (new.read_bytes() if new.exists() else None) == (b"before" if there else None):
                continue
            assert faults.happened == "close"  # of the source, when the copy was there
        with open_stack(target) as layer:
            assert layer.pread(0, SIZE) == contents[:SIZE]
        assert {path.name for path in Path().iterdir()} <= {"old.raw", new.name}
