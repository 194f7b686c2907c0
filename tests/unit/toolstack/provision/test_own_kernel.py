"""A kernel that was built here, and what is said of one whose modules are elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from xenia.cli.parser import build_parser
from xenia.cli.run import configuration
from xenia.errors import ConfigError
from xenia.testing.packages import module
from xenia.toolstack.config.share import ShareConfig
from xenia.toolstack.provision.kernels import Kernel
from xenia.toolstack.provision.own_kernel import CARDS, DISKS, Driver, is_built_tree, tree_image, what_is_missing

IMAGE = Path("vmlinuz")
BARE = memoryview(b"\0Linux version 6.9.0-own (x@y) #1\0")
WITH_DISKS = memoryview(bytes(BARE) + b"blkfront: %s\0")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for path in ("arch/x86/boot/bzImage", "include/config/kernel.release"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
    return tmp_path


def test_a_build_tree_has_a_kernel_and_its_release(tree: Path) -> None:
    assert is_built_tree(tree)
    assert tree_image(tree) == tree / "arch/x86/boot/bzImage"
    (tree / "include/config/kernel.release").unlink()
    assert not is_built_tree(tree)


def test_a_folder_without_a_built_kernel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no kernel was built here, for there is no arch/x86/boot/bzImage"):
        tree_image(tmp_path)
    with pytest.raises(ConfigError, match="there is no such folder"):
        tree_image(tmp_path / "gone")
    (tmp_path / "vmlinux").touch()
    assert tree_image(tmp_path) == tmp_path / "vmlinux"


def test_the_option_names_the_trees_kernel_and_goes_with_no_other(tree: Path) -> None:
    def ask(*words: str) -> str | None:
        return configuration(build_parser().parse_args(["run", "--kdir", str(tree), *words]), []).kernel

    assert ask() == str(tree / "arch/x86/boot/bzImage")
    for words in (("--kernel", "vmlinuz"), ("--flavour", "amd64")):
        with pytest.raises(ConfigError, match="--kdir brings its own kernel"):
            ask(*words)


@pytest.mark.parametrize(
    ("words", "is_shared"),
    [
        ("CONFIG_9P_FS=y\nCONFIG_NET_9P=y\nCONFIG_NET_9P_XEN=y\n", True),
        ("CONFIG_9P_FS=y\nCONFIG_NET_9P=y\nCONFIG_NET_9P_XEN=m\n", True),
        ("CONFIG_9P_FS=m\nCONFIG_NET_9P=y\nCONFIG_NET_9P_XEN=y\n", False),  # and not built
        ("CONFIG_NET_9P=y\nCONFIG_NET_9P_XEN=y\n", False),
    ],
)
def test_the_tree_is_shared_where_modules_look_for_it_if_its_kernel_can_see_it(
    tree: Path, words: str, is_shared: bool
) -> None:
    def ask(*more: str) -> list[str]:
        devices = configuration(build_parser().parse_args(["run", "--kdir", str(tree), *more]), []).devices
        return [device.agent_word for device in devices if isinstance(device, ShareConfig)]

    (tree / "include/config/auto.conf").write_text(words)
    (tree / "include/config/kernel.release").write_text("6.9.0-own\n")
    (tree / "net").mkdir()
    (tree / "net/9pnet_xen.ko").touch()
    (tree / "modules.order").write_text("net/9pnet_xen.o\nfs/9p.o\n")
    place = "/lib/modules/6.9.0-own/build"
    assert ask() == ([f"share0:ro:{place}"] if is_shared else [])
    assert ask("--share", f"/tmp:{place}") == [f"share0:rw:{place}"]
    assert ask("--root", "root.img") == ask("--append", "root=/dev/xvda") == ask("--initrd", "x") == []


def test_without_modules_all_that_will_be_missing_is_named() -> None:
    assert what_is_missing(IMAGE, BARE, None, [CARDS]) == (
        "no module xen-blkfront, xen-netfront or 9pnet_xen for the kernel 6.9.0-own is beside it or in /lib/modules: "
        "the guest will have no disk, network card or host folder; --modules DIR names where they are"
    )


@pytest.mark.parametrize("needed", [[], [DISKS]])
def test_a_kernel_without_modules_is_told_of_whatever_its_guest_has(needed: list[Driver]) -> None:
    line = what_is_missing(IMAGE, BARE, None, needed)
    assert line is not None and "the guest will have no disk, network card or host folder" in line


def test_what_is_built_in_is_not_missing() -> None:
    assert what_is_missing(IMAGE, memoryview(bytes(WITH_DISKS) + b"xen_netfront\0"), None, [DISKS, CARDS]) is None
    line = what_is_missing(IMAGE, WITH_DISKS, None, [CARDS])
    assert line is not None and "the guest will have no network card or host folder" in line


def test_a_kernel_that_was_built_without_a_driver_is_told_apart_from_one_without_modules(tmp_path: Path) -> None:
    (tmp_path / "xen_blkfront.ko").write_bytes(module("xen_blkfront"))
    kernel = Kernel("6.9.0-own", IMAGE, None, tmp_path)
    assert what_is_missing(IMAGE, BARE, kernel, [DISKS]) is None
    assert what_is_missing(IMAGE, BARE, kernel, [DISKS, CARDS]) == (
        "the kernel 6.9.0-own has no xen-netfront, built in or as a module: the guest will have no network card"
    )
