"""One stock kernel's xen-blkback serves disks to another's blkfront, over grants and events between the two."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.guests.shell import LIMIT, Shell
from xenia.abi.xenbus import XenbusState
from xenia.storage.file import open_file
from xenia.storage.memory import Memory
from xenia.toolstack.config.machine import MIB
from xenia.toolstack.devices.disk import Disk
from xenia.toolstack.machine.machine import Machine
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.provision.initramfs import agent_binary
from xenia.toolstack.provision.packages import PackageClient

pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(not PackageClient.available(), reason="no apt-get on this host to fetch Debian's kernel with"),
]
needs_e2fsprogs = pytest.mark.skipif(
    not all(map(shutil.which, ("mke2fs", "e2fsck", "debugfs"))), reason="the host has no e2fsprogs"
)

GUIDE = Path(__file__).parents[2] / "docs" / "driver-domains.md"
SIZE = 16 * MIB
GRANT_TABLE = 64 << 12
FROM_DISK = "echo 3 > /proc/sys/vm/drop_caches"
WRITE = "dd if=/dev/urandom of=/dev/xvda bs=256k count=8 conv=fsync"  # 2 MiB
SUM = f"{FROM_DISK}; head -c 2097152 %s | md5sum"
READ_FOR_EVER = f"while dd if=/dev/xvda of=/dev/null bs=64k; do {FROM_DISK}; echo again; done"
WRITE_FOR_EVER = "while dd if=/dev/zero of=/dev/xvda bs=64k count=256 conv=fsync; do echo again; done"


def driver_domain(machine: Machine) -> Shell:
    """A domain that can serve /dev/loop0, a file in its memory."""
    shell = Shell(machine, "driver", ("xen-blkfront", "xen-blkback", "loop", "ext4"), driver_domain=True)
    shell.domain.start()
    return shell


def with_loop_device(shell: Shell) -> Shell:
    shell.do("mkdir /tmp/disk && mount -t tmpfs none /tmp/disk && cd /tmp/disk")
    shell.do(f"truncate -s {SIZE} image && losetup /dev/loop0 image")
    return shell


def assert_sound(shell: Shell) -> None:
    """The recount of a domain's frames finds no difference.  It does not run any more afterwards."""
    shell.domain.handle.stop()
    assert shell.domain.handle.audit() == []


def until(condition: Callable[[], bool]) -> None:
    """Wait for what no event tells of."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine(Machine.memory_for(*[128 * MIB] * 3), scatter=7) as machine:
        free = machine.free_memory
        yield machine
    assert machine.free_memory == free


@pytest.fixture(scope="module")
def started(machine: Machine) -> tuple[Shell, Shell]:
    """Both, on their way up at the same time."""
    guest = Shell(machine, "guest", ("xen-blkfront", "ext4"))
    guest.domain.start()
    return driver_domain(machine), guest


@pytest.fixture(scope="module")
def driver(started: tuple[Shell, Shell]) -> Iterator[Shell]:
    driver = with_loop_device(started[0])
    yield driver
    assert_sound(driver)


@pytest.fixture(scope="module")
def guest(started: tuple[Shell, Shell]) -> Iterator[Shell]:
    yield started[1]
    assert_sound(started[1])


@contextmanager
def served(guest: Shell, driver: Shell, node: str, *, read_only: bool = False) -> Iterator[None]:
    """While one of the driver domain's devices is the guest's xvda."""
    disk = guest.domain.attach_disk_of(driver.domain, node, name="xvda", read_only=read_only)
    assert disk.wait(XenbusState.CONNECTED, LIMIT)
    guest.do("until [ -b /dev/xvda ]; do sleep 0.1; done")
    yield
    assert disk.unplug(LIMIT)
    guest.do("until [ ! -b /dev/xvda ]; do sleep 0.1; done")


@contextmanager
def own_disk(driver: Shell, path: Path, *, persistent: bool | None = None) -> Iterator[Disk]:
    """While the driver domain has a disk of the host's, its own xvda."""
    path.touch()
    os.truncate(path, SIZE)
    disk = driver.domain.attach_disk(open_file(path), name="xvda", persistent=persistent)
    driver.do("until [ -b /dev/xvda ]; do sleep 0.1; done")
    yield disk
    assert disk.unplug(LIMIT)
    driver.do("until [ ! -b /dev/xvda ]; do sleep 0.1; done")


@pytest.fixture(params=[True, False], ids=["persistent", "mapped each time"])
def granted(driver: Shell, request: pytest.FixtureRequest) -> None:
    """Whether blkback keeps the frames of its requests mapped."""
    driver.do(f"rmmod xen_blkback && modprobe xen_blkback feature_persistent={int(request.param)}")


def test_a_guest_writes_to_a_file_in_the_driver_domain(
    driver: Shell, guest: Shell, granted: None, tmp_path: Path
) -> None:
    with own_disk(driver, tmp_path / "own.img") as ours, served(guest, driver, "/dev/loop0"):
        before = ours.statistics
        guest.do(WRITE)
        written = guest.do(SUM % "/dev/xvda").split()[0]
        assert driver.do(SUM % "image").split()[0] == written
        assert ours.statistics == before and guest.domain.disks == []  # no byte went through a backend of ours


@needs_e2fsprogs
def test_a_file_system_on_a_disk_of_the_driver_domains_own(driver: Shell, guest: Shell, tmp_path: Path) -> None:
    path, dumped = tmp_path / "own.img", tmp_path / "back"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-F", str(path), "16M"], check=True)
    mount = f"{FROM_DISK}; mount -t ext4 /dev/xvda /mnt"
    with own_disk(driver, path) as ours:
        driver.do(f"{mount} && cp /bin/busybox /mnt && umount /mnt")
        with served(guest, driver, "/dev/xvda"):
            guest.do(f"{mount} && cmp /mnt/busybox /bin/busybox && cp /init /mnt/back && umount /mnt")
            guest.do(f"{mount} && cmp /mnt/back /init && /mnt/busybox true && umount /mnt")
        driver.do(f"{mount} && cmp /mnt/back /init && umount /mnt")
        assert ours.statistics["errors"] == 0
    subprocess.run(["e2fsck", "-f", "-n", str(path)], check=True, capture_output=True)
    subprocess.run(["debugfs", "-R", f"dump /back {dumped}", str(path)], check=True, capture_output=True)
    assert dumped.read_bytes() == agent_binary(Cache())


def test_a_disk_that_is_to_be_read_only(driver: Shell, guest: Shell) -> None:
    with served(guest, driver, "/dev/loop0", read_only=True):
        assert guest.do("cat /sys/block/xvda/ro") == "1\n"
        assert guest.run("echo no > /dev/xvda")[0] != 0


def test_a_granted_frame_is_not_granted_on(driver: Shell, guest: Shell, tmp_path: Path) -> None:
    # Without pages of its own to copy through, the driver domain's frontend would grant us the guest's frames.
    with own_disk(driver, tmp_path / "own.img", persistent=False) as ours, served(guest, driver, "/dev/xvda"):
        status, said = guest.run("dd if=/bin/busybox of=/dev/xvda bs=256k count=4 conv=fsync")
        assert status != 0 and "Input/output error" in said
        assert ours.statistics["writes"] == 0 and ours.statistics["errors"] > 0


def test_a_guest_dies_while_it_reads_and_leaves_nothing(machine: Machine, driver: Shell) -> None:
    free = machine.free_memory
    guest = Shell(machine, "mortal", ("xen-blkfront",))
    guest.domain.attach_disk_of(driver.domain, "/dev/loop0")
    guest.domain.start()
    guest.do("until [ -b /dev/xvda ]; do sleep 0.1; done")
    guest.begin(READ_FOR_EVER)
    guest.wait_for(b"again")
    guest.domain.destroy()
    driver.do("until ! ls /sys/bus/xen-backend/devices | grep -q vbd; do sleep 0.1; done")
    until(lambda: machine.free_memory == free)  # its last requests may be under way for a moment


@pytest.mark.parametrize("busy", [READ_FOR_EVER, WRITE_FOR_EVER], ids=["reads", "writes"])
def test_a_driver_domain_dies_while_it_serves(machine: Machine, guest: Shell, busy: str) -> None:
    free = machine.free_memory
    driver = with_loop_device(driver_domain(machine))
    disk = guest.domain.attach_disk_of(driver.domain, "/dev/loop0", name="xvda")
    guest.do("until [ -b /dev/xvda ]; do sleep 0.1; done")
    command = guest.begin(busy)
    guest.wait_for(b"again")
    driver.domain.destroy()
    assert "dd: " in guest.finish(command)[1]  # says that it could not
    guest.do("until [ ! -b /dev/xvda ]; do sleep 0.1; done")
    assert disk.unplug(LIMIT) and disk.removed
    assert free - machine.free_memory <= GRANT_TABLE  # the guest's may have grown
    another = guest.domain.attach_disk(Memory(MIB), name="xvda")
    guest.do("until [ -b /dev/xvda ]; do sleep 0.1; done; echo works | dd of=/dev/xvda conv=fsync")
    assert another.unplug(LIMIT)
    guest.do("until [ ! -b /dev/xvda ]; do sleep 0.1; done")


def test_the_guides_example() -> None:
    (example,) = re.findall(r"(?ms)^```python\n(.*?)^```$", GUIDE.read_text().split("\n## ")[0])
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stderr
    assert "a disk of another domain" in done.stdout
    assert "Reason.POWEROFF" in done.stdout
