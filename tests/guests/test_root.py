"""root=: a guest whose root file system is on a disk, mounted by the agent, which gives way to its init."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.guests.stock import Attached, Quiet, Stock
from xenia.agent import build
from xenia.cli.exit_status import ExitStatus
from xenia.errors import ConfigError
from xenia.storage.file import open_file
from xenia.testing.guests import Debian
from xenia.toolstack.config.disk import parse_disk
from xenia.toolstack.config.machine import MachineConfig
from xenia.toolstack.guest.build import Build
from xenia.toolstack.guest.guest import Guest
from xenia.toolstack.guest.verbs import Destroy, Start, Wait
from xenia.toolstack.provision.boot import prepare
from xenia.toolstack.provision.initramfs import busybox_applets
from xenia.toolstack.provision.packages import PackageClient

SOURCE = Path(__file__).parents[2] / "src"
LIMIT = 120
UUID = "01234567-89ab-cdef-0123-456789abcdef"
OTHER = "76543210-89ab-cdef-0123-456789abcdef"
INIT = """\
#!/bin/sh
echo "process $$ with $1 sees" *
grep ' / ' /proc/mounts
sync
poweroff -f
"""

pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(not PackageClient.available(), reason="no apt-get on this host to fetch Debian's kernel with"),
    pytest.mark.skipif(not all(map(shutil.which, ("mke2fs", "e2fsck", "debugfs"))), reason="the host has no e2fsprogs"),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What is on the disk: busybox, and the directories that a system has."""
    try:
        busybox = Debian().busybox
    except ConfigError as missing:
        pytest.skip(str(missing))
    root = tmp_path / "tree"
    for name in ("bin", "sbin", "dev", "proc", "sys", "run"):
        (root / name).mkdir(parents=True)
    (root / "bin" / "busybox").write_bytes(busybox)
    (root / "bin" / "busybox").chmod(0o755)
    for applet in busybox_applets(busybox):
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    return root


def disk(tree: Path, init: str = INIT, label: str = "system", uuid: str = UUID) -> Path:
    if init:
        (tree / "sbin" / "init").write_text(init)
        (tree / "sbin" / "init").chmod(0o755)
    path = tree.with_name("root.img")
    path.touch()
    os.truncate(path, 32 << 20)
    options = ("-t", "ext4", "-L", label, "-U", uuid, "-d", str(tree), "-F")
    subprocess.run(["mke2fs", "-q", *options, str(path)], check=True, capture_output=True)
    return path


def xenia(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "xenia", "run", "--quiet", *arguments],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


def test_the_init_on_the_disk_takes_over(tree: Path) -> None:
    done = xenia("--disk", str(disk(tree)), "--append", "quiet root=/dev/xvda single")
    assert done.returncode == ExitStatus.OK, done.stdout + done.stderr
    assert "process 1 with single sees bin dev lost+found proc run sbin sys" in done.stdout
    assert "/dev/xvda / ext4 ro," in done.stdout


def test_a_command_runs_in_it_and_may_write(tree: Path) -> None:
    root = disk(tree, init="")
    done = xenia("--root", str(root), "--", "sh", "-c", "cd /; echo *; echo kept > /kept; sleep 1000 > /open & exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "bin dev lost+found proc run sbin sys\n", "")
    subprocess.run(["e2fsck", "-f", "-n", str(root)], check=True, capture_output=True)
    kept = subprocess.run(["debugfs", "-R", "cat /kept", str(root)], check=True, capture_output=True)
    assert kept.stdout == b"kept\n"


def test_a_read_only_disk_is_mounted_as_one(tree: Path) -> None:
    done = xenia("--root", f"{disk(tree)},ro", "--", "grep", " / ", "/proc/mounts")
    assert done.stdout.startswith("/dev/xvda / ext4 ro,")


def test_a_command_is_told_that_the_disk_is_not_there(tree: Path) -> None:
    done = xenia("--disk", str(disk(tree)), "--append", "root=LABEL=syste", "--", "true")
    assert (done.returncode, done.stderr) == (126, "xenia: root=LABEL=syste: no such disk (there are: xvda)\n")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("root=/dev/xvdb", "xenia: root=/dev/xvdb: no such disk (there are: xvda)"),
        ("root=LABEL=system init=/sbin/nothing", "xenia: root=LABEL=system: cannot run its /sbin/nothing"),
        ("root=/dev/xvda rootfstype=ext2,iso9660", "xenia: root=/dev/xvda: no file system there that this kernel can"),
    ],
)
def test_without_a_system_the_kernel_panics_after_one_clear_line(tree: Path, words: str, complaint: str) -> None:
    done = xenia("--disk", str(disk(tree)), "--append", f"quiet loglevel=0 {words}")
    assert done.returncode == ExitStatus.PANIC
    assert done.stdout.splitlines()[-1].startswith(complaint)
    assert "Call Trace" not in done.stdout


PARTITION = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
TABLES = {
    "gpt": f'label: gpt\nstart=2048,size=2048\nstart=4096,uuid={PARTITION},name="my root"\n',
    "dos": "label: dos\nlabel-id: 0xdeadbeef\nstart=2048,size=2048,type=83\nstart=4096,type=83\n",
}


def partitioned(root: Path, table: str) -> Path:
    """A disk whose second partition has the system that is on a disk of its own."""
    path = root.with_name(f"{table}.img")
    path.touch()
    os.truncate(path, 36 << 20)
    subprocess.run(["sfdisk", "-q", str(path)], input=TABLES[table], text=True, check=True, capture_output=True)
    with path.open("r+b") as file:
        file.seek(4096 * 512)
        file.write(root.read_bytes())
    return path


# What means the second partition of the one disk or of the other, xvda and xvdb.
WORDS = {
    f"root=PARTUUID={PARTITION.upper()}": "xvda2",
    'root="PARTLABEL=my root"': "xvda2",
    f"root=/dev/disk/by-partuuid/{PARTITION}": "xvda2",
    "root=/dev/disk/by-partlabel/my\\x20root": "xvda2",
    f'"root=/dev/disk/by-uuid/{UUID}"': "xvda2",
    "root=202:2": "xvda2",
    "root=PARTUUID=deadbeef-02": "xvdb2",
    "root=PARTUUID=DEADBEEF-01/PARTNROFF=1": "xvdb2",
    "root=ca12": "xvdb2",
    "root=/dev/disk/by-label/other": "xvdb2",
}
OF_NO_DISK = ("root=PARTUUID=deadbeef-03", "root=202:3")


@pytest.fixture
def disks(tree: Path) -> dict[str, Path]:
    """Two with a system each in their second partition."""
    if shutil.which("sfdisk") is None:
        pytest.skip("the host has no sfdisk")
    disks = {"xvda": partitioned(disk(tree), "gpt")}
    return disks | {"xvdb": partitioned(disk(tree, label="other", uuid=OTHER), "dos")}


def test_a_partition_is_found_by_every_word_that_a_kernel_or_udev_has_for_it(
    disks: dict[str, Path], tmp_path: Path
) -> None:
    """Each is asked of the agent's own code, which one guest runs with one word after the other."""
    if (compiler := build.find_compiler()) is None:
        pytest.skip("no C compiler for the agent")
    probe = tmp_path / "probe"
    flags = (*build.FLAGS, "-Wno-unused-function", "-I", str(build.SOURCE.parent))
    subprocess.run([compiler, *flags, "-o", str(probe), str(Path(__file__).with_name("root_probe.c"))], check=True)
    asked = [*WORDS, *OF_NO_DISK, "quiet", f"quiet root=202:2 {next(iter(WORDS))} -- root=202:3"]
    guest = Stock(
        "while read -r word; do printf '%s\\n' \"$word\" > /word; mount -o bind /word /proc/cmdline; /bin/probe;"
        " umount /proc/cmdline; done < /words",
        disks=[Attached(open_file(path)) for path in disks.values()],
        files={"/bin/probe": probe.read_bytes(), "/words": "".join(f"{word}\n" for word in asked).encode()},
    )
    said = re.findall(r"^means (.*)$", guest.start().finish().console, re.MULTILINE)
    assert dict(zip(asked, said, strict=True)) == {
        **{word: f"/dev/{name}" for word, name in WORDS.items()},
        **dict.fromkeys(OF_NO_DISK, "none"), "quiet": "no word", asked[-1]: "/dev/xvda2",
    }  # fmt: skip


@pytest.mark.parametrize(
    "word", [pytest.param(word, marks=[pytest.mark.long] * (number % 6 != 1)) for number, word in enumerate(WORDS)]
)
def test_a_system_in_a_partition_is_the_root(disks: dict[str, Path], word: str) -> None:
    both = [text for path in disks.values() for text in ("--disk", str(path))]
    done = xenia(*both, "--append", f"quiet {word}", "--", "grep", " / ", "/proc/mounts")
    assert done.stdout.startswith(f"/dev/{WORDS[word]} / ext4 "), done.stdout + done.stderr


@pytest.mark.long
@pytest.mark.parametrize("word", OF_NO_DISK)
def test_a_word_that_means_no_disk_finds_none(disks: dict[str, Path], word: str) -> None:
    done = xenia("--disk", str(disks["xvdb"]), "--append", f"quiet {word}", "--", "true")
    assert (done.returncode, "no such disk" in done.stderr) == (126, True)


def test_a_disk_without_a_file_system_does_not_mount(tmp_path: Path) -> None:
    path = tmp_path / "zero.img"
    path.write_bytes(bytes(1 << 20))
    done = xenia(
        "--disk", str(path), "--", "sh", "-c", "mkdir -p /mnt; mount /dev/xvda /mnt; echo $?; cat /proc/mounts"
    )
    assert done.stdout.split()[0] not in ("", "0") and "/mnt" not in done.stdout
    done = xenia("--root", str(path), "--", "true")
    assert done.returncode == 126
    assert done.stderr == "xenia: root=/dev/xvda: no file system there that this kernel can mount\n"


def test_a_disk_that_is_plugged_in_late_is_waited_for(tree: Path) -> None:
    root = disk(tree)
    config = MachineConfig(append=f"root=UUID={UUID} rootwait", disks=(parse_disk(f"{tree.with_name('other.img')}"),))
    other = tree.with_name("other.img")
    other.write_bytes(bytes(1 << 20))
    said = bytearray()
    booted = threading.Event()

    def hear(data: bytes) -> None:
        said.extend(data)
        if b"blkfront: xvda" in said:
            booted.set()

    guest = Guest(config)
    try:
        guest.do(Build(prepare(config, Quiet()), hear))
        guest.do(Start())
        assert booted.wait(LIMIT)
        guest.require_domain().attach_disk(open_file(root))
        guest.do(Wait(LIMIT))
    finally:
        guest.do(Destroy())
    assert b"/dev/xvdb / ext4 ro," in said
