"""File systems on disks of ours: made by the host's tools, written by a stock kernel, checked by the host's tools.

One guest has them all, each on a disk of its own, and each on another stack of storage layers: what the guest wrote is
copied out of the stack, and the file system's own programs look at that copy.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance.storage_model import make, pattern
from tests.guests.stock import Attached, Report, Stock
from tests.guests.test_stock_kernels import assert_clean
from xenia.errors import ConfigError
from xenia.shutdown import Reason
from xenia.storage.stack import create_stack, open_stack
from xenia.testing.guests import Debian
from xenia.toolstack.disks.disk import convert
from xenia.toolstack.provision.packages import PackageClient

pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(not PackageClient.available(), reason="no apt-get on this host to fetch Debian's kernel with"),
]

MIB = 1 << 20
Files = dict[str, str]  # SHA-256 by path


def host(*command: str | Path) -> bytes:
    """What a program of the host's says, which must succeed."""
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")
    return done.stdout


def tree(root: Path) -> Files:
    """The files of a directory of the host's."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


# --- What is on an image, as the file system's own programs see it


def from_fat(image: Path, out: Path) -> Files:
    host("mcopy", "-s", "-i", image, "::/", out)
    return tree(out)


def from_ext(image: Path, out: Path) -> Files:
    host("debugfs", "-R", f"rdump / {out}", image)
    return tree(out)


def from_btrfs(image: Path, out: Path) -> Files:
    host("btrfs", "restore", image, out)
    return tree(out)


def from_ntfs(image: Path, out: Path) -> Files:
    listed, at = [], ""
    for line in host("ntfsls", "-R", "-F", image).decode().splitlines():
        if line.startswith("/"):
            at = line.rstrip(":").strip("/")
        elif line and not line.endswith("/"):
            listed.append(f"{at}/{line}".lstrip("/"))
    return {path: hashlib.sha256(host("ntfscat", image, path)).hexdigest() for path in listed}


def from_xfs(image: Path, out: Path) -> Files:
    """By the block maps that xfs_db shows: it has no command for a file's contents."""

    def xfs_db(*commands: str) -> str:
        return host("xfs_db", "-r", *(word for command in commands for word in ("-c", command)), image).decode()

    block_size = int(xfs_db("sb 0", "print blocksize").split()[-1])
    blocks_of_group = int(xfs_db("sb 0", "print agblocks").split()[-1])
    files: Files = {}
    pending = [""]
    data = image.read_bytes()
    while pending:
        at = pending.pop()
        for line in xfs_db(f"path /{at}", "ls").splitlines():
            _, _, kind, _, _, name, *_ = [*line.split(), *[""] * 6]
            path = f"{at}/{name}".lstrip("/")
            if kind == "directory" and name not in (".", ".."):
                pending.append(path)
            elif kind == "regular":
                said = xfs_db(f"path /{path}", "print core.size", "bmap")
                size = int(said.split()[2])
                contents = bytearray(size)
                for found in re.finditer(r"offset (\d+) startblock \d+ \((\d+)/(\d+)\) count (\d+)", said):
                    offset, group, block, count = map(int, found.groups())
                    start = (group * blocks_of_group + block) * block_size
                    part = data[start : start + count * block_size]
                    contents[offset * block_size : offset * block_size + len(part)] = part
                files[path] = hashlib.sha256(contents[:size]).hexdigest()
    return files


@dataclass(frozen=True)
class FileSystem:
    """How one is made, mounted, checked and read.

    stack    what the disk is, in the directory DIR
    needs    the host's programs
    make     a command that makes it in an image file, whose name follows
    mount    what the guest says before the device and the directory; a file system that is not named is found out
    kind     what /proc/mounts calls it
    check    a command that succeeds where the image, whose name follows, is sound
    """

    stack: str
    needs: tuple[str, ...]
    make: tuple[str, ...]
    mount: str
    kind: str
    check: tuple[str, ...]
    read: Callable[[Path, Path], Files]
    size: int = 48 * MIB


FILE_SYSTEMS: Mapping[str, FileSystem] = {
    "fat32": FileSystem(
        "file:DIR/fat32,crypt:key=@DIR/key:kdf=pbkdf2",
        ("mkfs.vfat", "fsck.vfat", "mcopy"), ("mkfs.vfat", "-F", "32"),
        "mount", "vfat", ("fsck.vfat", "-n"), from_fat,
    ),
    "ntfs": FileSystem(
        "qcow2:DIR/ntfs.qcow2",
        ("mkfs.ntfs", "ntfsfix", "ntfsls", "ntfscat"), ("mkfs.ntfs", "-F", "-Q", "-q"),
        "mount", "ntfs3", ("ntfsfix", "-n"), from_ntfs,
    ),
    "ext2": FileSystem(
        "file:DIR/ext2",
        ("mke2fs", "e2fsck", "debugfs"), ("mke2fs", "-q", "-t", "ext2", "-F"),
        "mount -t ext2", "ext2", ("e2fsck", "-f", "-n"), from_ext,
    ),
    "ext3": FileSystem(
        "file:DIR/ext3,crypt:key=@DIR/key:plain,checkpoint:DIR/ext3.checkpoints",
        ("mke2fs", "e2fsck", "debugfs"), ("mke2fs", "-q", "-t", "ext3", "-F"),
        "mount -t ext3", "ext3", ("e2fsck", "-f", "-n"), from_ext,
    ),
    "ext4": FileSystem(
        "file:DIR/ext4,compress,crypt:key=@DIR/key:plain",
        ("mke2fs", "e2fsck", "debugfs"), ("mke2fs", "-q", "-t", "ext4", "-F"),
        "mount", "ext4", ("e2fsck", "-f", "-n"), from_ext,
    ),
    "xfs": FileSystem(
        "qcow2:DIR/xfs.qcow2,cow:DIR/xfs.overlay",
        ("mkfs.xfs", "xfs_repair", "xfs_db"), ("mkfs.xfs", "-q"),
        "mount", "xfs", ("xfs_repair", "-n", "-f"), from_xfs, 300 * MIB,
    ),
    "btrfs": FileSystem(
        "file:DIR/btrfs,compress,cache:writeback",
        ("mkfs.btrfs", "btrfs"), ("mkfs.btrfs", "-q"),
        "mount", "btrfs", ("btrfs", "check", "--readonly"), from_btrfs, 128 * MIB,
    ),
}  # fmt: skip

PERSISTENT = "btrfs"  # this one's disk offers persistent grants

# Linux only reads these.
UFS = "file:DIR/ufs,checkpoint:DIR/ufs.checkpoints"

# Many files, a large one that is also written in the middle and at its end, renames, deletes; then all is read again.
WORK = """
work() {
    mkdir $1/many $1/many/deep
    for i in $(seq 80); do echo "file $i of $1" > $1/many/$i; done
    dd if=/dev/urandom of=$1/big bs=64k count=100 2>/dev/null
    dd if=/dev/urandom of=$1/big bs=5000 seek=300 count=40 conv=notrunc,fsync 2>/dev/null
    echo end >> $1/big
    cp /bin/busybox $1/many/deep/copy
    mv $1/many/7 $1/many/deep/seven; mv $1/many $1/lots; mv $1/big $1/lots/big
    for i in 20 21 22 23 24 25; do rm $1/lots/$i; done
    truncate -s 1000 $1/lots/deep/copy
    sync
}
look() { (cd $1; find . -type f | sort | tr '\\n' '\\0' | xargs -0 sha256sum); }
try() {
    mkdir /mnt/$1
    echo "<$1>"
    shift
    "$@"
}
"""


def programs_missing(system: FileSystem) -> list[str]:
    return [name for name in system.needs if shutil.which(name) is None]


def fuse_driver() -> dict[str, bytes]:
    """The host's ntfs-3g with its libraries, for a guest whose kernel has no driver for NTFS (Debian 12's has none)."""
    program = shutil.which("ntfs-3g")
    if program is None:
        return {}
    libraries = re.findall(r"(/\S+) \(0x", host("ldd", program).decode())
    return {
        "/bin/ntfs-3g.bin": Path(program).read_bytes(),
        "/bin/ntfs-3g": b'#!/bin/sh\nexec /lib/loader --library-path /lib /bin/ntfs-3g.bin "$@"\n',
        **{f"/lib/{Path(path).name}": Path(path).read_bytes() for path in libraries if "/ld-" not in path},
        "/lib/loader": next(Path(path).read_bytes() for path in libraries if "/ld-" in path),
    }


def fill(stack: str, image: Path) -> None:
    """Make a stack that holds what the image does."""
    make(stack, image.stat().st_size)
    with open_stack(f"file:{image}", read_only=True) as old, open_stack(stack) as new:
        for extent in old.extents(0, old.size):
            if extent.zero:
                new.write_zeroes(extent.offset, extent.length)
            else:
                new.pwrite(old.pread(extent.offset, extent.length), extent.offset)


@dataclass(frozen=True)
class Outcome:
    """What one guest did to all file systems, and the directory with what is behind its disks."""

    directory: Path
    report: Report

    def section(self, name: str) -> list[str]:
        """What the guest said about one of them."""
        _, _, rest = self.report.console.partition(f"<{name}>")
        return rest.partition("\n<")[0].splitlines()[1:]

    def stack(self, name: str) -> str:
        """What is behind its disk."""
        return FILE_SYSTEMS[name].stack.replace("DIR", str(self.directory))


def has_module(name: str) -> bool:
    try:
        return name in Debian().kernel().module_infos()
    except ConfigError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """One guest that mounts every file system for which the host has the programs."""
    pytest.importorskip("cryptography", reason="needs the Python package cryptography")
    directory = tmp_path_factory.mktemp("disks")
    (directory / "key").write_bytes(bytes(range(64)))
    script = [WORK]
    disks: list[Attached] = []
    fuse = {} if has_module("ntfs3") else fuse_driver()
    for name, system in FILE_SYSTEMS.items():
        if programs_missing(system):
            continue
        raw = directory / "raw"
        with raw.open("wb") as file:
            file.truncate(system.size)
        host(*system.make, raw)
        stack = system.stack.replace("DIR", str(directory))
        fill(stack, raw)
        raw.unlink()
        device = f"xvd{chr(ord('a') + len(disks))}"
        disks.append(Attached(open_stack(stack), {"persistent": name == PERSISTENT}))
        mount = "ntfs-3g" if name == "ntfs" and fuse else system.mount
        script.append(
            f"try {name} {mount} /dev/{device} /mnt/{name} && grep /mnt/{name} /proc/mounts &&"
            f" work /mnt/{name} && umount /mnt/{name} && echo 3 > /proc/sys/vm/drop_caches &&"
            f" {mount} /dev/{device} /mnt/{name} && look /mnt/{name} && umount /mnt/{name} && echo done"
        )
    if shutil.which("makefs") is not None:
        (directory / "tree" / "below").mkdir(parents=True)
        for number in range(40):
            (directory / "tree" / "below" / f"file {number}").write_bytes(pattern(number, number**3))
        host("makefs", "-t", "ffs", "-B", "le", "-o", "version=1", "-s", "16m", directory / "ufs", directory / "tree")
        create_stack(UFS.replace("DIR", str(directory)), None)
        device = f"xvd{chr(ord('a') + len(disks))}"
        layer = open_stack(UFS.replace("DIR", str(directory)), read_only=True)
        disks.append(Attached(layer, {"read_only": True}))
        script.append(
            f"try ufs mount -t ufs -o ro,ufstype=44bsd /dev/{device} /mnt/ufs && look /mnt/ufs && umount /mnt/ufs &&"
            f" blockdev --getro /dev/{device}"
        )
    script.append("echo '<drivers>'; dmesg | grep blkfront:")
    script += ["echo '<kernel>'", "dmesg | grep -E 'BUG|WARNING|Oops|I/O error|corrupt'", "echo '<end>'"]
    guest = Stock("\n".join(script), append="loglevel=1", disks=disks, files=fuse).start()
    yield Outcome(directory, guest.finish(280))


@pytest.mark.parametrize("name", FILE_SYSTEMS)
def test_what_a_guest_wrote_into_a_file_system_is_sound_and_whole_on_the_host(
    outcome: Outcome, name: str, tmp_path: Path
) -> None:
    system = FILE_SYSTEMS[name]
    if missing := programs_missing(system):
        pytest.skip(f"the host has no {', '.join(missing)}")
    said = outcome.section(name)
    assert said and said[-1] == "done", said
    mounted = said[0].split()[2]
    assert mounted == system.kind or (name == "ntfs" and mounted == "fuseblk")
    seen = {path.removeprefix("./"): digest for digest, path in (line.split("  ") for line in said[1:-1])}
    assert len(seen) == 80 - 6 + 2
    image, out = tmp_path / "image", tmp_path / "out"
    out.mkdir()
    convert(outcome.stack(name), f"file:{image}")
    host(*system.check, image)
    assert system.read(image, out) == seen
    assert hashlib.sha256(f"file 7 of /mnt/{name}\n".encode()).hexdigest() == seen["lots/deep/seven"]


def test_a_guest_reads_what_makefs_wrote_into_ufs(outcome: Outcome) -> None:
    said = outcome.section("ufs")
    if not said and shutil.which("makefs") is None:
        pytest.skip("the host has no makefs")
    assert said[-1] == "1"
    seen = {path.removeprefix("./"): digest for digest, path in (line.split("  ") for line in said[:-1])}
    assert seen == tree(outcome.directory / "tree")


def test_one_of_the_disks_had_persistent_grants(outcome: Outcome) -> None:
    enabled = [line for line in outcome.section("drivers") if "persistent grants: enabled" in line]
    assert len(enabled) == (not programs_missing(FILE_SYSTEMS[PERSISTENT]))


def test_no_file_system_met_an_error(outcome: Outcome) -> None:
    assert outcome.section("kernel") == []
    assert outcome.report.shutdown is not None and outcome.report.shutdown.reason is Reason.POWEROFF
    assert_clean(outcome.report)
