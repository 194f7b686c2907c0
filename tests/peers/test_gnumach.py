"""GNU Mach, as Debian packages it for Xen: a PV kernel that is no Linux and that ends with a reason of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.peers.packaged import member

pytestmark = pytest.mark.peer


def xenia(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "xenia", *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)


def test_the_kernel_for_xen_is_named_and_the_reason_that_it_gives_up_with_is_told(tmp_path: Path) -> None:
    kernel = str(member("gnumach-image-1.8-xen-486", "/boot/gnumach", tmp_path))
    shown = xenia("inspect", kernel)
    assert shown.returncode == 0 and "GNU Mach (__xen_guest section)" in shown.stdout
    done = xenia("run", "-q", "--memory", "64M", "--kernel", kernel)
    assert done.returncode == 122
    assert done.stderr.endswith("xenia: the guest's kernel gave up with the reason 252, which is none of Xen's\n")


def test_the_kernel_for_real_machines_is_named_as_one(tmp_path: Path) -> None:
    kernel = str(member("gnumach-image-1.8-486", "/boot/gnumach", tmp_path))
    for arguments, status in (("inspect", kernel), 1), (("run", "--kernel", kernel), 2):
        done = xenia(*arguments)
        assert done.returncode == status
        assert "a Multiboot kernel, for real machines and HVM guests" in done.stdout + done.stderr
