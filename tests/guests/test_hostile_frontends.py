"""Guests that try, through the disk they have, to reach what is not theirs: they get errors, and nothing else happens.

The tiny guest guests/blkfront makes every attempt while another domain of the same machine, with a disk of its own,
looks again and again at its memory and at its disk.
"""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest

from tests.guests.stock import Quiet
from tests.guests.tiny import kernel
from xenia import Machine
from xenia.shutdown import Reason
from xenia.storage.file import create_file
from xenia.storage.layer import Layer
from xenia.storage.stack import open_over
from xenia.toolstack.config.disk import parse_disk
from xenia.toolstack.config.machine import MachineConfig
from xenia.toolstack.machine.domain import Domain
from xenia.toolstack.provision.boot import prepare
from xenia.toolstack.provision.packages import PackageClient

pytestmark = pytest.mark.guest

MIB = 1 << 20
LIMIT = 120

GRANTS = """\
a grant: okay
taken back: yes
read after that: error
write after that: error
read into a read-only grant: error
write out of a read-only grant: okay
taken back: yes
a grant for the other domain: error
a grant for DOMID_SELF: error
a transfer for a grant: error
untouched by all that: yes
read into the L4: error
read into an L1: error
"""
REQUESTS = """\
references that were not granted: 0 reached
reference 0xffffffff: error
reference 0x80000000: error
frames of others were tried: yes
frames of others: 0 reached
its grants: 0 reached
its ports: 0 reached
its keys: read EACCES, written EACCES
the backend's keys: written EACCES, removed EACCES
no segments: error
12 segments: error
255 segments: error
a segment that ends before it begins: error
a segment beyond its page: error
a segment far beyond its page: error
a bad reference before good ones: error
past the end: error
across the end: error
sectors far away: 0 reached
operations that are none: 0
a flush with 200 segments: error
a flush of a bad reference: error
a barrier of a bad reference: error
discards far away: 0
untouched by all that: yes
indirect, 4 segments: okay
indirect, none: error
indirect, 257: error
indirect, 65535: error
indirect flush: error
indirect indirect: error
indirect 99: error
indirect, a list that is not granted: error
indirect, a bad reference among 256: error
indirect, a bad segment among 256: error
indirect, read into its own list: error
honest again: yes
requests that changed: 600 answered, 0 with nonsense
pages taken away: 20 answered, 0 became page tables while in use
"""
IN_USE = "some were in use: yes\n"
RECONNECTED = "closed: yes\nconnected: yes\nhonest again: yes\n"
CONNECTIONS = f"""\
honest after 20000 events: yes
{f"a forged index: nothing{chr(10)}{RECONNECTED}" * 4}read into the ring itself
{RECONNECTED}closed: yes
a request after that: nothing
untouched by that: yes
nonsense that was published: 22 of 22 refused
connected: yes
honest after that: yes
closed: yes
connected: yes
honest after flapping: yes
gone for nonsense: yes
"""
BEGIN = "connected: yes\nhonest: yes\n"
# The guest's first word by what is special about its disk.
EXPECTED = {
    "attack": BEGIN + GRANTS + REQUESTS + CONNECTIONS,
    "slow": BEGIN + GRANTS + REQUESTS + IN_USE + CONNECTIONS,
    "persistent": BEGIN + REQUESTS + CONNECTIONS,
}


def block(seed: int) -> bytes:
    """What the guest fills a page with."""
    words = ((seed + 1) * 0x9E3779B97F4A7C15 + index * 0x0101010101010101 & (1 << 64) - 1 for index in range(512))
    return struct.pack("<512Q", *words)


def slow(layer: Layer) -> Layer:
    return open_over(layer, "delay:read=2")


@pytest.mark.parametrize("how", EXPECTED)
def test_a_hostile_frontend_gets_errors_and_reaches_nothing(how: str, tmp_path: Path) -> None:
    said = {"victim": bytearray(), how: bytearray()}
    with Machine(Machine.memory_for(16 * MIB, 16 * MIB), check=True) as machine:
        free = machine.free_memory
        domains: list[Domain] = []
        for role, output in said.items():
            command = f"{role} {1 + (role == 'victim')}"
            domain = machine.create_domain(kernel("blkfront"), memory=16 * MIB, cmdline=command, console=output.extend)
            layer: Layer = create_file(tmp_path / role, 2 * MIB)
            if role == "slow":
                layer = slow(layer)
            domain.attach_disk(layer, persistent=role == "persistent")
            domains.append(domain)
        victim, attacker = domains
        assert (victim.domid, attacker.domid) == (1, 2)  # as they were told
        victim.start()
        while b"ready" not in said["victim"]:
            assert victim.wait(0.02) is None, said
        attacker.start()
        ended = attacker.wait(LIMIT)
        assert said[how].decode().replace("\r", "") == EXPECTED[how]
        assert ended is not None and ended.reason is Reason.POWEROFF
        assert attacker.disks[0].attachment.wait_removed(LIMIT)
        assert not victim.disks[0].attachment.removed
        victim.console.offer(b"q")
        assert victim.wait(LIMIT) is not None
        assert said["victim"].decode().replace("\r", "") == (
            "connected: yes\nready\nwhole: yes\nlooked more than once: yes\nclosed: yes\n"
        )
        for domain in domains:
            domain.handle.stop()
            assert domain.handle.audit() == []
            domain.destroy()
        assert machine.free_memory == free
    held = (tmp_path / "victim").read_bytes()
    assert held == b"".join(map(block, range(64))).ljust(2 * MIB, b"\0")
    changed = (tmp_path / how).read_bytes()
    # Where it was honest: one page each at sectors 8 and 64.
    assert not any(changed[:4096] + changed[8192:32768] + changed[36864:])


def test_a_guest_that_is_destroyed_amid_its_requests_leaves_nothing(tmp_path: Path) -> None:
    said = bytearray()
    with Machine(Machine.memory_for(16 * MIB), check=True) as machine:
        free = machine.free_memory
        for _ in range(5):
            said.clear()
            domain = machine.create_domain(kernel("blkfront"), memory=16 * MIB, cmdline="victim 2", console=said.extend)
            disk = domain.attach_disk(slow(create_file(tmp_path / "disk", 2 * MIB, replace=True)))
            domain.start()
            while b"ready" not in said or disk.statistics["reads"] < 10:
                assert domain.wait(0.001) is None, said
            begun = time.monotonic()
            domain.destroy()
            assert time.monotonic() - begun < 5
            assert machine.free_memory == free


@pytest.mark.skipif(not PackageClient.available(), reason="no apt-get on this host to fetch Debian's kernel with")
def test_two_stock_guests_see_their_own_disks_only(tmp_path: Path) -> None:
    script = (
        "exec >/dev/hvc0 2>&1; cd /sys/block;"
        "ls -d xvd*; echo only-$0 | dd of=/dev/xvda bs=512 seek=9 conv=fsync 2>/dev/null;"
        "echo 3 > /proc/sys/vm/drop_caches; grep -ao 'only-[a-z]*' /dev/xvda; cat /sys/bus/xen/devices/vbd-*/nodename"
    )
    names = ("first", "second")
    said = {name: bytearray() for name in names}
    with Machine(Machine.memory_for(*[128 * MIB] * 2), scatter=7) as machine:
        free = machine.free_memory
        domains = []
        for name in names:
            disks = (parse_disk(f"file:{tmp_path / name}"),)
            layer = create_file(tmp_path / name, 4 * MIB)
            config = MachineConfig(
                command=("sh", "-c", script, name), flavour="cloud-amd64", memory=128 * MIB, disks=disks
            )
            boot = prepare(config, Quiet(), quiet=True)
            domain = machine.create_domain(
                boot.kernel, name=name, initrd=boot.ramdisk, cmdline=boot.command_line, memory=128 * MIB,
                console=said[name].extend,
            )  # fmt: skip
            domain.attach_disk(layer)
            domains.append(domain)
        for domain in domains:
            domain.start()
        for domain in domains:
            assert domain.wait(LIMIT) is not None
        for domain in domains:
            domain.handle.stop()
            assert domain.handle.audit() == []
            domain.destroy()
        assert machine.free_memory == free
    for name, other in (names, names[::-1]):
        assert f"only-{name}".encode() in said[name] and b"xvda" in said[name] and b"xvdb" not in said[name]
        assert f"only-{other}".encode() not in said[name] and said[name].count(b"device/vbd/") == 1
        held = (tmp_path / name).read_bytes()
        assert held[9 * 512 :].rstrip(b"\0") == f"only-{name}\n".encode()
        assert not any(held[: 9 * 512])
