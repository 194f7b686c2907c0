"""GRUB's own PV kernel, which is not Linux: to its prompt, and off again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from bench import peers

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GRUB for x86_64-xen with a few commands in it."""
    try:
        mkimage = peers.find("grub-mkimage", "grub-common")
    except peers.Missing as missing:
        pytest.skip(str(missing))
    if not Path("/usr/lib/grub/x86_64-xen").is_dir():
        pytest.skip("GRUB's modules for x86_64-xen are not here (Debian package grub-xen-bin)")
    target = tmp_path_factory.mktemp("grub") / "grub"
    command = [
        mkimage,
        "-O",
        "x86_64-xen",
        "-o",
        str(target),
        "-p",
        "/boot/grub",
        "normal",
        "echo",
        "halt",
        "reboot",
        "ls",
        "cat",
        "ext2",
    ]
    subprocess.run(command, check=True)
    return target


def test_grub_comes_to_its_prompt_takes_a_command_and_halts(image: Path) -> None:
    command = ["-m", "xenia", "run", "--quiet", "--memory", "64M", "--kernel", str(image)]
    with pexpect.spawn(sys.executable, command, timeout=60) as guest:
        guest.expect_exact("GNU GRUB")
        guest.expect_exact("grub> ")
        guest.send("echo hos''pitality\r")
        guest.expect_exact("hospitality")
        guest.expect_exact("grub> ")
        guest.send("halt\r")
        guest.expect(pexpect.EOF)
    assert guest.exitstatus == 0


def test_grub_reads_a_file_from_a_disk_by_its_own_blkfront_and_reboots(image: Path, tmp_path: Path) -> None:
    disk, tree = tmp_path / "disk", tmp_path / "tree"
    tree.mkdir()
    (tree / "word").write_text("philoxenia\n")
    try:
        mke2fs = peers.find("mke2fs", "e2fsprogs")
    except peers.Missing as missing:
        pytest.skip(str(missing))
    subprocess.run([mke2fs, "-q", "-t", "ext2", "-d", str(tree), str(disk), "1M"], check=True)
    command = ["-m", "xenia", "run", "--quiet", "--memory", "64M", "--kernel", str(image), "--disk", str(disk)]
    with pexpect.spawn(sys.executable, [*command, "--on-reboot", "end"], timeout=60) as guest:
        guest.expect_exact("grub> ")
        guest.send("ls\r")
        guest.expect_exact("(xen/xvda)")
        guest.expect_exact("grub> ")
        guest.send("cat (xen/xvda)/word\r")
        guest.expect_exact("philoxenia")
        guest.expect_exact("grub> ")
        guest.send("reboot\r")
        guest.expect(pexpect.EOF)
    assert guest.exitstatus == 120
