"""A stock kernel's blkfront on a disk of ours; what the guest wrote is looked at by the host's own tools."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.guests.stock import Quiet
from xenia.abi.xenbus import XenbusState
from xenia.storage.file import open_file
from xenia.toolstack.config.machine import MachineConfig
from xenia.toolstack.disks.disk import convert
from xenia.toolstack.guest.build import Build
from xenia.toolstack.guest.guest import Guest
from xenia.toolstack.guest.verbs import Destroy, Start, Wait
from xenia.toolstack.provision.boot import prepare
from xenia.toolstack.provision.packages import PackageClient

SOURCE = Path(__file__).parents[2] / "src"
LIMIT = 120
SIZE = 64 << 20

pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(not PackageClient.available(), reason="no apt-get on this host to fetch Debian's kernel with"),
]
needs_e2fsprogs = pytest.mark.skipif(
    not all(map(shutil.which, ("mke2fs", "e2fsck", "debugfs"))), reason="the host has no e2fsprogs"
)


def image(tmp_path: Path, *, formatted: bool = False) -> Path:
    path = tmp_path / "disk.img"
    path.touch()
    os.truncate(path, SIZE)
    if formatted:
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-F", str(path)], check=True)
    return path


def run(script: str, *disks: str) -> str:
    """What a command in a guest with these disks says."""
    options = [option for disk in disks for option in ("--disk", disk)]
    done = subprocess.run(
        [sys.executable, "-m", "xenia", "run", "--quiet", *options, "--", "sh", "-e", "-c", script],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")
    return done.stdout.decode().replace("\r", "")


@needs_e2fsprogs
def test_files_written_in_a_guest_are_whole_on_the_host(tmp_path: Path) -> None:
    disk = image(tmp_path, formatted=True)
    said = run(
        "mount -t ext4 /dev/xvda /mnt; dd if=/dev/urandom of=/mnt/data bs=64k count=200 2>/dev/null;"
        "sync; echo 3 > /proc/sys/vm/drop_caches; sha256sum < /mnt/data; echo hello > /mnt/small; umount /mnt",
        str(disk),
    )
    subprocess.run(["e2fsck", "-f", "-n", str(disk)], check=True, capture_output=True)
    dumped = tmp_path / "data"
    subprocess.run(["debugfs", "-R", f"dump /data {dumped}", str(disk)], check=True, capture_output=True)
    assert hashlib.sha256(dumped.read_bytes()).hexdigest() == said.split()[0]
    small = subprocess.run(["debugfs", "-R", "cat /small", str(disk)], check=True, capture_output=True)
    assert small.stdout == b"hello\n"


@needs_e2fsprogs
def test_a_program_runs_from_the_disk(tmp_path: Path) -> None:
    # Its code comes into frames that held other things: translations of those must not outlive them.
    disk = image(tmp_path, formatted=True)
    said = run(
        "mount -t ext4 /dev/xvda /mnt; mkdir /mnt/one /mnt/two;"
        "cp /bin/busybox /mnt/one; cp /bin/busybox /mnt/two; umount /mnt;"
        "mount -t ext4 /dev/xvda /mnt; for i in 1 2 3; do echo 3 > /proc/sys/vm/drop_caches;"
        "/mnt/one/busybox sha256sum /mnt/two/busybox | /mnt/two/busybox cut -c 1-64; done; umount /mnt",
        str(disk),
    )
    assert len(set(said.split())) == 1 and len(said.split()) == 3


def test_a_request_has_a_megabyte_and_what_was_flushed_is_in_the_file(tmp_path: Path) -> None:
    disk = image(tmp_path)
    said = run(
        "cat /sys/block/xvda/queue/max_segments /sys/block/xvda/queue/max_sectors_kb;"
        "echo kept | dd of=/dev/xvda bs=512 seek=3 conv=fsync 2>/dev/null",
        str(disk),
    )
    assert said.split() == ["256", "1024"]
    assert disk.read_bytes()[1536:1541] == b"kept\n"


@needs_e2fsprogs
@pytest.mark.parametrize("stack", ["file:DIR/stack", "file:DIR/stack,compress,cache:writeback"])
def test_what_a_guest_was_told_is_durable_outlives_a_process_that_is_killed(stack: str, tmp_path: Path) -> None:
    text = stack.replace("DIR", str(tmp_path))
    convert(str(image(tmp_path, formatted=True)), text)
    script = (
        "mount -t ext4 /dev/xvda /mnt; i=0; while :; do i=$((i + 1));"
        "head -c 20000 /dev/urandom | dd of=/mnt/$i conv=fsync 2>/dev/null; echo $i $(sha256sum < /mnt/$i); done"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "xenia", "run", "--quiet", "--disk", text, "--", "sh", "-c", script],
        env={**os.environ, "PYTHONPATH": str(SOURCE)}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    told = [line for line, _ in zip(process.stdout, range(25), strict=False)]
    process.kill()
    told += process.stdout.read().splitlines(keepends=True)
    process.stdout.close()
    process.wait()
    left = tmp_path / "left"
    convert(text, str(left))
    # The journal is played back; the exit status says so.
    assert subprocess.run(["e2fsck", "-p", str(left)], capture_output=True, check=False).returncode in (0, 1)
    subprocess.run(["e2fsck", "-f", "-n", str(left)], check=True, capture_output=True)
    (tmp_path / "out").mkdir()
    subprocess.run(["debugfs", "-R", f"rdump / {tmp_path / 'out'}", str(left)], check=True, capture_output=True)
    whole = [line.split() for line in told if line.endswith("-\n")]
    assert len(whole) >= 25
    for name, digest, _ in whole:
        assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == digest


def test_a_read_only_disk_and_a_second_disk(tmp_path: Path) -> None:
    first = image(tmp_path)
    second = tmp_path / "second.img"
    second.write_bytes(b"second".ljust(1 << 20, b"."))
    said = run(
        "cat /sys/block/xvda/size /sys/block/xvdb/size /sys/block/xvdb/ro; head -c 6 /dev/xvdb; echo;"
        "echo no > /dev/xvdb 2>/dev/null && echo written || echo refused",
        str(first),
        f"{second},ro",
    )
    assert said.split() == [str(SIZE // 512), "2048", "1", "second", "refused"]
    assert second.read_bytes()[:6] == b"second"


def test_a_disk_is_plugged_in_grows_and_is_unplugged_while_the_guest_runs(tmp_path: Path) -> None:
    config = MachineConfig(
        command=(
            "sh", "-c",
            "exec >/dev/hvc0 2>&1; until [ -b /dev/xvda ]; do sleep 0.1; done; echo '<plugged>';"
            "mke2fs /dev/xvda > /dev/null; mount /dev/xvda /mnt && umount /mnt && echo '<mounted>';"
            "until [ $(cat /sys/block/xvda/size) = 4096 ]; do sleep 0.1; done; echo '<grown>';"
            "until [ ! -b /dev/xvda ]; do sleep 0.1; done; echo '<gone>'",
        ),
    )  # fmt: skip
    said = bytearray()
    changed = threading.Condition()

    def hear(data: bytes) -> None:
        with changed:
            said.extend(data)
            changed.notify_all()

    def heard(word: bytes) -> bool:
        with changed:
            return changed.wait_for(lambda: word in said, LIMIT)

    guest = Guest(config)
    path = tmp_path / "disk.img"
    path.touch()
    os.truncate(path, 1 << 20)
    try:
        guest.do(Build(prepare(config, Quiet()), hear))
        guest.do(Start())
        domain = guest.require_domain()
        layer = open_file(path)
        disk = domain.attach_disk(layer)
        assert disk.attachment.wait(XenbusState.CONNECTED, LIMIT)
        assert heard(b"<plugged>"), bytes(said)
        assert heard(b"<mounted>"), bytes(said)
        layer.resize(2 << 20)
        assert heard(b"<grown>"), bytes(said)
        assert disk.unplug(LIMIT)
        assert heard(b"<gone>"), bytes(said)
        guest.do(Wait(LIMIT))
    finally:
        guest.do(Destroy())
