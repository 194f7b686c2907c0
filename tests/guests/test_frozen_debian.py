"""A stock Debian kernel that is frozen in the middle of disk writes, torn down, and goes on elsewhere; many times."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guests.stock import Attached, Stock, program
from tests.long import amount
from xenia.shutdown import Reason
from xenia.storage.delay import Delay
from xenia.storage.file import open_file
from xenia.toolstack.machine.domain import Domain
from xenia.toolstack.provision.packages import PackageClient

pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(not PackageClient.available(), reason="no apt-get on this host to fetch Debian's kernel with"),
]

TIMES = amount(20, 8)
LIMIT = 60.0  # seconds
WRITERS, BLOCKS, BLOCK = 4, 64, 65536
SIZE = WRITERS * BLOCKS * BLOCK


def content(numbers: list[int]) -> bytes:
    """What the writers leave, each of which has written so many blocks: see frozen/writer.c."""

    def blocks() -> Iterator[bytes]:
        for count in numbers:
            for place in range(BLOCKS):
                number = (count - 1 - place) // BLOCKS * BLOCKS + place
                yield b"".join(struct.pack("<QQ", number, sector) * 32 for sector in range(BLOCK // 512))

    return b"".join(blocks())


class Slow:
    """A disk whose requests take a while, and which notes those that were under way when their guest had stopped."""

    def __init__(self, path: Path) -> None:
        self.domain: Domain | None = None
        self.in_flight = 0
        self.layer = Delay(open_file(path), write=0.005, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        time.sleep(seconds)
        if seconds and self.domain is not None and self.domain.shutdown is not None:
            self.in_flight += 1


def wait_for(guest: Stock, text: str) -> None:
    end = time.monotonic() + LIMIT
    while text not in guest.console:
        assert time.monotonic() < end and guest.domain.shutdown is None, guest.console[-4000:]
        time.sleep(0.01)


@pytest.mark.skipif(not all(map(shutil.which, ("mke2fs", "e2fsck", "debugfs"))), reason="the host has no e2fsprogs")
def test_a_debian_guest_is_frozen_many_times_in_the_middle_of_disk_writes(tmp_path: Path) -> None:
    raw, formatted = tmp_path / "raw.img", tmp_path / "ext4.img"
    for path, size in ((raw, SIZE), (formatted, 4 * SIZE)):
        path.touch()
        os.truncate(path, size)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-F", str(formatted)], check=True)
    slow = [Slow(raw), Slow(formatted)]
    guest = Stock(
        "echo 5 >/proc/sys/vm/dirty_writeback_centisecs; echo 1000000 >/proc/sys/vm/dirty_background_bytes;"
        "mount -t ext4 /dev/xvdb /mnt; /bin/test-writer /tmp/stop /dev/xvda /mnt/file & echo begun;"
        "read word; echo heard $word; touch /tmp/stop; wait; umount /mnt; echo done",
        memory=128,
        scatter=1,
        files={"/bin/test-writer": program("writer", Path(__file__).with_name("frozen"))},
        disks=[Attached(disk.layer) for disk in slow],
    ).start()
    wait_for(guest, "begun")
    numbers = [guest.domain.domid]
    for _ in range(TIMES):
        seen = len(re.findall(r"^tick", guest.console, re.MULTILINE))
        wait_for(guest, f"tick {seen + 5}\n")
        for disk in slow:
            disk.domain = guest.domain
        frozen = guest.domain.freeze(LIMIT)
        guest.domain = guest.machine.rebuild(frozen)
        numbers.append(guest.domain.domid)
        guest.domain.start()
    guest.domain.console.send(b"enough\n")
    wait_for(guest, "done\n")
    report = guest.finish()

    assert report.failures() == []
    assert report.shutdown is not None and report.shutdown.reason is Reason.POWEROFF
    assert report.audit == [] and report.still_held == 0
    assert len(set(numbers)) == TIMES + 1
    assert "heard enough\n" in report.console and "writer: 0 failed\n" in report.console
    count = int(re.search(r"^ticks: (\d+)$", report.console, re.MULTILINE)[1])  # type: ignore[index]
    assert re.findall(r"^tick (\d+)$", report.console, re.MULTILINE) == [str(number) for number in range(count)]
    for name, path in (("/dev/xvda", raw), ("/mnt/file", tmp_path / "file")):
        said = dict(re.findall(rf"^{name} (\d): (\d+)$", report.console, re.MULTILINE))
        if path is not raw:
            subprocess.run(["e2fsck", "-f", "-n", str(formatted)], check=True, capture_output=True)
            subprocess.run(["debugfs", "-R", f"dump /file {path}", str(formatted)], check=True, capture_output=True)
        expected = content([int(said[str(writer)]) for writer in range(WRITERS)])
        assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(expected).digest()
    assert sum(disk.in_flight for disk in slow) > 0, "no freeze found a write under way"
