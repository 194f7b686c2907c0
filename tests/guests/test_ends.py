"""How a run ends where the host has failed it: whole processes, Debian's kernel."""

from __future__ import annotations

import fcntl
import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guests.test_run import LIMIT, XENIA, environment, needs_debian
from xenia.storage.stack import create_stack, open_stack

pytestmark = pytest.mark.guest

_WRITES = """
yes GOOD | dd of=/dev/xvdb bs=64k count=32 iflag=fullblock oflag=direct
dd if=/dev/urandom of=/dev/xvda bs=1M count=8 conv=fsync
exit 7
"""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    directory = tmp_path / "small"
    directory.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() or mount is None or subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=2M", "tmpfs", str(directory)], capture_output=True, check=False
    ).returncode:  # fmt: skip
        pytest.skip("only root can mount a small file system")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


@needs_debian
def test_a_disk_that_fails_to_close_hides_no_status_and_loses_no_other_disks_data(tmp_path: Path, small: Path) -> None:
    create_stack(f"file:{tmp_path}/src.raw", 64 << 20)
    create_stack(f"{tmp_path}/good.qcow2", 64 << 20)
    disks = ["--disk", f"{tmp_path}/src.raw,cow", "--disk", f"{tmp_path}/good.qcow2"]
    ended = subprocess.run(
        [*XENIA, "run", "-q", *disks, "--", "sh", "-c", _WRITES], stdin=subprocess.DEVNULL, capture_output=True,
        env=environment(TMPDIR=str(small)), timeout=LIMIT, check=False,
    )  # fmt: skip
    assert ended.returncode == 7
    said = [line for line in ended.stderr.decode().splitlines() if line.startswith("xenia: the disk")]
    assert said == ["xenia: the disk xvda did not close: No space left on device (what was not flushed may be lost)"]
    with open_stack(f"{tmp_path}/good.qcow2") as good:
        assert good.pread(0, 2 << 20) == (b"GOOD\n" * (1 << 20))[: 2 << 20]


@needs_debian
@pytest.mark.parametrize("closed", ["1>&-", "0<&- 1>&- 2>&-"])
def test_a_run_without_a_standard_descriptor_ends(closed: str) -> None:
    ended = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", *XENIA, "run", "-q", "--", "sh", "-c", "echo hi; exit 3"],
        stdin=subprocess.DEVNULL, capture_output=True, env=environment(), timeout=LIMIT, check=False,
    )  # fmt: skip
    assert ended.returncode == 3
    assert ended.stdout == (b"" if "1>" in closed else b"hi\n")


def read_until(descriptor: int, word: bytes) -> None:
    seen = b""
    while word not in seen:
        seen += os.read(descriptor, 4096)


def test_a_second_sigterm_skips_nothing() -> None:
    process = subprocess.Popen(
        [*XENIA, "run", "--kernel", "demo", "--disk", "memory:1M"], env=environment(),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    read_until(process.stdout.fileno(), b"> ")
    for _ in range(5):
        process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT) == -signal.SIGTERM
    assert process.stderr.read().endswith(b"xenia: ended by SIGTERM\n")
    process.communicate()


@pytest.mark.parametrize("leads", [False, True])
def test_a_terminal_that_hangs_up_ends_the_run_as_sighup_does(leads: bool) -> None:
    master, slave = pty.openpty()
    own = {"start_new_session": True, "preexec_fn": lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)} if leads else {}
    process: subprocess.Popen[bytes] = subprocess.Popen(
        [*XENIA, "run", "--kernel", "demo"], env=environment(), stdin=slave, stdout=slave, stderr=subprocess.DEVNULL,
        **own,
    )  # type: ignore[call-overload]  # fmt: skip
    os.close(slave)
    read_until(master, b"> ")
    os.close(master)
    assert process.wait(LIMIT) == -signal.SIGHUP


def test_a_run_in_the_background_of_a_terminal_leaves_it_alone_and_ends_when_it_is_asked_to() -> None:
    leader = (
        "import fcntl, os, signal, subprocess, sys, termios, time\n"
        "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "before = termios.tcgetattr(0)\n"
        "guest = subprocess.Popen(sys.argv[1:], process_group=0)\n"
        "sys.stdin.readline()\n"  # the test has seen the guest's prompt
        "same = termios.tcgetattr(0) == before\n"
        "guest.terminate()\n"
        "print('left alone', same, 'ended by', -guest.wait(), flush=True)\n"
    )
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", leader, *XENIA, "run", "--kernel", "demo"],
        env=environment(), stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    try:
        read_until(master, b"\r\n> ")
        os.write(master, b"\n")
        read_until(master, b"left alone True ended by 15")
        assert process.wait(LIMIT) == 0
    finally:
        process.kill()
        os.close(master)
