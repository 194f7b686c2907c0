"""What Linux's blkfront makes of what its disks offer: sector sizes, rings, discards, flushes, errors.

One guest has a disk of each kind; its driver is loaded with rings of sixteen pages and requests of 256 segments.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

import pytest

from tests.guests.stock import Attached, Report, Stock
from tests.guests.test_stock_kernels import assert_clean
from xenia.abi.xenbus import XenbusState
from xenia.storage.file import create_file, open_file
from xenia.storage.layer import Layer
from xenia.storage.stack import open_over
from xenia.storage.trace import Event, Record, Trace
from xenia.toolstack.provision.packages import PackageClient

pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(not PackageClient.available(), reason="no apt-get on this host to fetch Debian's kernel with"),
]

MIB = 1 << 20
LIMIT = 120
KINDS = ("sectors", "cdrom", "discard", "flush", "bad", "lost", "torn", "again", "gone")
DEVICE = {kind: f"xvd{chr(ord('a') + index)}" for index, kind in enumerate(KINDS)}

SCRIPT = """
stty -echo
modprobe xen_blkfront max_ring_page_order=4 max_indirect_segments=256
for kind in KINDS; do until [ -b /dev/${kind#*=} ]; do sleep 0.05; done; done
try() { "$@" 2>/dev/null && echo good || echo bad; }
queue() { cat /sys/block/$1/queue/$2; }
say() { echo "<$1>"; }

say sectors
queue sectors logical_block_size; queue sectors physical_block_size; cat /sys/block/sectors/size
mke2fs -b 4096 /dev/sectors > /dev/null; mount -t ext2 /dev/sectors /mnt; echo kept > /mnt/file; umount /mnt
mount -t ext2 /dev/sectors /mnt; cat /mnt/file; umount /mnt

say cdrom
cat /sys/block/cdrom/ro /sys/block/cdrom/removable; blockdev --getro /dev/cdrom
head -c 5 /dev/cdrom; echo; try dd if=/dev/zero of=/dev/cdrom count=1; try blockdev --setrw /dev/cdrom
try dd if=/dev/zero of=/dev/cdrom count=1 conv=fsync

say rings
cat /sys/module/xen_blkfront/parameters/max_ring_page_order; queue discard max_segments
try dd if=/dev/zero of=/dev/discard bs=1M count=16 conv=fsync

say discard
queue discard discard_granularity
dd if=/dev/urandom of=/dev/discard bs=1M count=16 conv=fsync 2>/dev/null
say written
read line
try blkdiscard -o 4M -l 4M /dev/discard
say discarded
read line
mke2fs -b 4096 /dev/discard > /dev/null; mount /dev/discard /mnt
dd if=/dev/urandom of=/mnt/file bs=1M count=12 conv=fsync 2>/dev/null; rm /mnt/file; sync
say deleted
read line
fstrim /mnt && echo trimmed; umount /mnt

say flush
queue flush write_cache
mke2fs -b 4096 /dev/flush > /dev/null; mount /dev/flush /mnt
echo flushed | dd of=/mnt/file conv=fsync 2>/dev/null
say synced
read line
umount /mnt

say bad
try dd if=/dev/bad of=/dev/null bs=4k skip=256 count=1
try dd if=/dev/bad of=/dev/null bs=4k skip=257 count=16
try dd if=/dev/zero of=/dev/bad bs=4k seek=256 count=1 conv=fsync
try dd if=/dev/zero of=/dev/bad bs=4k seek=255 count=1 conv=fsync

say lost
try dd if=/dev/zero of=/dev/lost bs=4k count=1 conv=fsync
try dd if=/dev/zero of=/dev/lost bs=4k count=1 conv=fsync
try dd if=/dev/lost of=/dev/null bs=4k count=1

say torn
try dd if=/dev/torn of=/dev/null bs=4k skip=16 count=16
try dd if=/dev/torn of=/dev/null bs=4k skip=600 count=16

say again
echo before | dd of=/dev/again conv=fsync 2>/dev/null
id=$(basename $(readlink /sys/block/again/device))
echo $id > /sys/bus/xen/drivers/vbd/unbind; ls -d /sys/block/again 2>/dev/null
say unbound
until [ -b /dev/again ]; do sleep 0.05; done
head -n 1 /dev/again
echo after | dd of=/dev/again conv=fsync 2>/dev/null

say gone
while dd if=/dev/gone of=/dev/null bs=64k 2>/dev/null; do echo 3 > /proc/sys/vm/drop_caches; done
while [ -e /sys/block/gone ]; do sleep 0.05; done
echo noticed

say end
"""


@dataclass(frozen=True)
class Outcome:
    """What the guest said, and what the host saw meanwhile."""

    report: Report
    stats: dict[str, dict[str, Any]]
    keys: dict[str, str]  # of the frontend of "discard"
    allocated: dict[str, int]  # bytes that the file of "discard" took, by when
    at_sync: list[Record]  # what came to the disk "flush" until the guest's fsync had returned
    unbound: XenbusState
    file: bytes  # of "again"

    def said(self, section: str) -> list[str]:
        _, _, rest = self.report.console.partition(f"<{section}>")
        return rest.partition("\n<")[0].splitlines()[1:]


def script() -> str:
    """The script, with devices for kinds."""
    text = SCRIPT.replace("for kind in KINDS", f"for kind in {' '.join(DEVICE.values())}")
    for kind, device in DEVICE.items():
        text = text.replace(f"/dev/{kind}", f"/dev/{device}").replace(f"queue {kind} ", f"queue {device} ")
        text = text.replace(f"/sys/block/{kind}", f"/sys/block/{device}")
    return text


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    directory = tmp_path_factory.mktemp("disks")
    records: list[Record] = []

    def file(name: str, size: int = 8 * MIB) -> Layer:
        return create_file(directory / name, size)

    cdrom = file("cdrom")
    cdrom.pwrite(b"music", 0)
    torn = file("torn")
    os.truncate(directory / "torn", 2 * MIB)
    disks = {
        "sectors": Attached(file("sectors"), {"sector_size": 4096}),
        "cdrom": Attached(cdrom, {"cdrom": True}),
        "discard": Attached(file("discard", 16 * MIB)),
        "flush": Attached(Trace(file("flush"), records.append)),
        "bad": Attached(open_over(file("bad"), f"faulty:reads:writes:start={MIB}:end={MIB + 4096}")),
        "lost": Attached(open_over(file("lost"), "faulty:flushes")),
        "torn": Attached(torn),
        "again": Attached(file("again")),
        "gone": Attached(file("gone")),
    }
    assert tuple(disks) == KINDS
    guest = Stock(script(), disks=disks.values(), append="loglevel=1", load_modules=False).start()
    allocated: dict[str, int] = {}

    def await_word(word: str) -> None:
        end = time.monotonic() + LIMIT
        while f"<{word}>" not in guest.console:
            assert guest.domain.wait(0.05) is None and time.monotonic() < end, guest.console

    for moment in ("written", "discarded", "deleted"):
        await_word(moment)
        allocated[moment] = (directory / "discard").stat().st_blocks * 512
        guest.domain.console.offer(b"\n")
    await_word("synced")
    at_sync = list(records)
    guest.domain.console.offer(b"\n")
    await_word("unbound")
    by_name = {disk.name: disk for disk in guest.domain.disks}
    again = by_name[DEVICE["again"]]
    assert again.attachment.wait(XenbusState.CLOSED, LIMIT)
    unbound = again.attachment.state
    assert again.unplug(LIMIT)
    guest.domain.attach_disk(open_file(directory / "again"), name=DEVICE["again"])
    await_word("gone")
    gone = by_name[DEVICE["gone"]]
    while gone.statistics["reads"] < 100:
        assert guest.domain.wait(0.01) is None, guest.console
    assert gone.unplug(LIMIT)
    guest.domain.wait(LIMIT)
    allocated["trimmed"] = (directory / "discard").stat().st_blocks * 512
    address = by_name[DEVICE["discard"]].attachment.address
    keys = guest.store_keys(address.frontend_path)
    stats = {kind: by_name[device].statistics for kind, device in DEVICE.items()}
    report = guest.finish()
    return Outcome(report, stats, keys, allocated, at_sync, unbound, (directory / "again").read_bytes())


def test_a_disk_of_4096_byte_sectors(outcome: Outcome) -> None:
    assert outcome.said("sectors") == ["4096", "4096", str(8 * MIB // 512), "kept"]


def test_a_cdrom_is_read_only_and_removable(outcome: Outcome) -> None:
    assert outcome.said("cdrom") == ["1", "1", "1", "music", "bad", "good", "bad"]
    assert outcome.stats["cdrom"]["writes"] == 0


def test_rings_of_sixteen_pages_and_indirect_requests_are_negotiated(outcome: Outcome) -> None:
    assert outcome.said("rings") == ["4", "256", "good"]
    assert outcome.keys["ring-page-order"] == "4"
    assert "ring-ref15" in outcome.keys and "ring-ref" not in outcome.keys
    stats = outcome.stats["discard"]
    assert stats["bytes_written"] // stats["writes"] > 11 * 4096  # more than a plain request has room for


def test_discards_give_the_hosts_space_back(outcome: Outcome) -> None:
    (granularity,) = outcome.said("discard")
    if outcome.stats["discard"]["discards"] == 0 or granularity == "0":
        pytest.skip("the host's file system cannot punch holes")
    allocated = outcome.allocated
    assert allocated["written"] >= 16 * MIB
    assert outcome.said("written") == ["good"]
    assert allocated["discarded"] <= allocated["written"] - 4 * MIB
    assert outcome.said("deleted") == ["trimmed"]
    assert allocated["deleted"] >= 12 * MIB
    assert allocated["trimmed"] < 2 * MIB


def test_fsync_returns_when_what_was_written_has_been_flushed_below(outcome: Outcome) -> None:
    assert outcome.said("flush") == ["write back"]
    written = next(index for index, one in enumerate(outcome.at_sync) if b"flushed\n" in one.data)
    assert Event.FLUSH in [one.event for one in outcome.at_sync[written:]]


def test_an_error_reaches_who_touches_the_bad_bytes_and_nobody_else(outcome: Outcome) -> None:
    assert outcome.said("bad") == ["bad", "good", "bad", "good"]


def test_a_flush_that_failed_makes_later_writes_fail(outcome: Outcome) -> None:
    # Linux's frontend does not tell whoever flushed.
    assert outcome.said("lost")[1:] == ["bad", "good"]


def test_what_is_missing_of_a_torn_file_cannot_be_read_and_the_rest_can(outcome: Outcome) -> None:
    assert outcome.said("torn") == ["good", "bad"]


def test_a_disk_whose_driver_let_go_is_unplugged_and_comes_back_with_what_it_held(outcome: Outcome) -> None:
    assert outcome.unbound is XenbusState.CLOSED
    assert outcome.said("again") == []
    assert outcome.said("unbound") == ["before"]
    assert outcome.file.startswith(b"after\n")


def test_a_disk_that_is_unplugged_amid_reads_is_gone_for_the_guest(outcome: Outcome) -> None:
    assert outcome.said("gone") == ["noticed"]


def test_the_guest_ends_clean(outcome: Outcome) -> None:
    assert "<end>" in outcome.report.console
    assert_clean(outcome.report)
