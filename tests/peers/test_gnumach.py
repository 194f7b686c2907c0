"""GNU Mach, as Debian packages it for Xen: a PV kernel that is no Linux and that ends with a reason of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from xenia.errors import ConfigError
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.provision.deb import read_deb
from xenia.toolstack.provision.packages import PackageClient

pytestmark = pytest.mark.peer


def image(package: str, directory: Path) -> Path:
    """The kernel in a package of the distribution; the test is skipped where it cannot be had."""
    if not PackageClient.available():
        pytest.skip("no apt-get on this host to fetch GNU Mach with")
    client = PackageClient(Cache())
    try:
        deb = client.download(client.find([package]), directory)
    except ConfigError as error:
        pytest.skip(f"{package}: {error}")
    for member, contents in read_deb(deb):
        if contents is not None and "/boot/gnumach" in member.name:
            path = directory / "gnumach"
            path.write_bytes(contents.read())
            return path
    raise AssertionError(f"{package} has no kernel in it")


def xenia(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "xenia", *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)


def test_the_kernel_for_xen_is_named_and_the_reason_that_it_gives_up_with_is_told(tmp_path: Path) -> None:
    kernel = str(image("gnumach-image-1.8-xen-486", tmp_path))
    shown = xenia("inspect", kernel)
    assert shown.returncode == 0 and "GNU Mach (__xen_guest section)" in shown.stdout
    done = xenia("run", "-q", "--memory", "64M", "--kernel", kernel)
    assert done.returncode == 122
    assert done.stderr.endswith("xenia: the guest's kernel gave up with the reason 252, which is none of Xen's\n")


def test_the_kernel_for_real_machines_is_named_as_one(tmp_path: Path) -> None:
    kernel = str(image("gnumach-image-1.8-486", tmp_path))
    for arguments, status in (("inspect", kernel), 1), (("run", "--kernel", kernel), 2):
        done = xenia(*arguments)
        assert done.returncode == status
        assert "a Multiboot kernel, for real machines and HVM guests" in done.stdout + done.stderr
