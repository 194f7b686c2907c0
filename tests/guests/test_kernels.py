"""`xenia run` with other kernels than the usual one: by version, and from the folder that they were built in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from xenia.testing.guests import Debian
from xenia.toolstack.provision.kernels import Kernel
from xenia.toolstack.provision.packages import PackageClient

SOURCE = Path(__file__).parents[2] / "src"

pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(not PackageClient.available(), reason="no apt-get on this host to fetch Debian's kernel with"),
]


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "xenia", "run", *arguments], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)}, timeout=120, check=False,
    )  # fmt: skip


def lay_out(tree: Path, kernel: Kernel) -> None:
    """A kernel and its modules, as a build leaves them in its tree."""
    for folder in ("arch/x86/boot", "include/config", "drivers"):
        (tree / folder).mkdir(parents=True)
    shutil.copy(kernel.image, tree / "arch/x86/boot/bzImage")
    (tree / "include/config/kernel.release").write_text(f"{kernel.release}\n")
    order = []
    for path in sorted(kernel.modules.glob("*.ko")):
        shutil.copy(path, tree / "drivers")
        order.append(f"drivers/{path.stem}.o\n")
    (tree / "modules.order").write_text("".join(order))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian's kernel, laid out as a build leaves it."""
    kernel = Debian().kernel("cloud-amd64")
    tree = tmp_path_factory.mktemp("linux")
    lay_out(tree, kernel)
    return tree


def test_in_a_folder_that_a_kernel_was_built_in_a_run_takes_that_one_with_all_its_modules(tree: Path) -> None:
    # tun is none of those that the RAM disk has of other kernels.
    done = run("--", "sh", "-c", "uname -r; modprobe tun && ls /sys/class/misc/tun/dev", cwd=tree)
    release = Debian().kernel("cloud-amd64").release
    assert done.stdout == f"{release}\n/sys/class/misc/tun/dev\n".encode()
    assert b"booting the kernel that was built here, arch/x86/boot/bzImage" in done.stderr


def test_modules_that_do_not_fit_into_the_ram_disk_come_straight_from_the_tree(tmp_path: Path) -> None:
    kernel = Debian().kernel("amd64")  # the flavour that can have folders of the host's
    tree = tmp_path / "linux"
    lay_out(tree, kernel)
    (tree / "include/config/auto.conf").write_text("CONFIG_9P_FS=m\nCONFIG_NET_9P=m\nCONFIG_NET_9P_XEN=m\n")
    where = f"/lib/modules/{kernel.release}/build"
    script = f"ls {where}/arch/x86/boot; modprobe tun && ls /sys/class/misc/tun/dev; ls /lib/modules/*/tun.ko"
    done = run("-q", "--memory", "112M", "--kdir", str(tree), "--", "sh", "-c", script, cwd=tmp_path)
    assert done.stdout == b"bzImage\n/sys/class/misc/tun/dev\n", done.stderr
    assert b"tun.ko: No such file" in done.stderr, "it is in the RAM disk, and nothing was shown"


@pytest.mark.skipif("XENIA_KDIR" not in os.environ, reason="XENIA_KDIR names no tree that a kernel was built in")
def test_a_kernel_that_was_built_here_runs_with_its_modules_and_its_tree(tmp_path: Path) -> None:
    tree = Path(os.environ["XENIA_KDIR"])
    release = (tree / "include/config/kernel.release").read_text().strip()
    script = "uname -r; modprobe dummy && ls /sys/module/dummy/initstate; ls /lib/modules/$(uname -r)/build/vmlinux"
    said = f"{release}\n/sys/module/dummy/initstate\n/lib/modules/{release}/build/vmlinux\n"
    assert run("--", "sh", "-c", script, cwd=tree).stdout.decode() == said
    assert run("-q", "--kdir", str(tree), "--", "sh", "-c", script, cwd=tmp_path).stdout.decode() == said


def test_a_release_names_the_cached_kernel(tmp_path: Path) -> None:
    release = Debian().kernel("cloud-amd64").release
    assert run("-q", "--kernel", release, "--", "uname", "-r", cwd=tmp_path).stdout == f"{release}\n".encode()


@pytest.mark.parametrize("flavour", ["amd64", "cloud-amd64"])
def test_modprobe_finds_all_modules_of_a_kernels_package(tmp_path: Path, flavour: str) -> None:
    """One by its name with what it depends on, and one that the kernel asks for; by a share, or from a disk."""
    script = (
        "modprobe wireguard; grep -c -e ^wireguard -e ^libchacha20poly1305 /proc/modules; "
        "mount -t udf /dev/null /mnt; mount -t romfs /dev/null /mnt; grep -c -e udf -e romfs /proc/filesystems"
    )
    done = run("-q", "--net", "none", "--flavour", flavour, "--modules", "all", "--", "sh", "-c", script, cwd=tmp_path)
    assert done.stdout == b"2\n2\n", done.stderr
