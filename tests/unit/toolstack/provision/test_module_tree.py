"""Where the modules of a kernel of the operator's own are found, and what is said when they are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from xenia.errors import ConfigError
from xenia.testing.packages import module
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.provision.module_tree import find_modules, has_driver, left_in_tree, release_of
from xenia.toolstack.provision.modules import read_modinfo

RELEASE = "6.1.0-test"  # of the vermagic that made-up modules have
WANTED = ("xen-blkfront", "loop", "not-there")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def tree(directory: Path) -> None:
    """Modules as a build or an installation has them."""
    for name, data in {
        "drivers/block/xen-blkfront.ko": module("xen_blkfront", depends="xenbus-probe"),
        "drivers/xen/xenbus-probe.ko": module("xenbus-probe"),
        "drivers/gpu/huge.ko": b"not even looked at",
    }.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(data)
    (directory / "modules.order").touch()


@pytest.mark.parametrize(
    ("image", "modules"),
    [
        ("linux/arch/x86/boot/bzImage", "linux"),
        ("linux/vmlinux", "linux"),
        ("package/boot/vmlinuz", f"package/lib/modules/{RELEASE}"),
        ("package/boot/vmlinuz", f"package/usr/lib/modules/{RELEASE}"),
        (f"lib/modules/{RELEASE}/vmlinuz", f"lib/modules/{RELEASE}"),
    ],
)
def test_modules_are_found_beside_the_kernel(tmp_path: Path, cache: Cache, image: str, modules: str) -> None:
    tree(tmp_path / modules)
    kernel = find_modules(tmp_path / image, RELEASE, WANTED, cache)
    assert kernel is not None
    assert kernel.module_infos().keys() == {"xen_blkfront", "xenbus_probe"}


@pytest.mark.parametrize("inside", ["", f"lib/modules/{RELEASE}", RELEASE])
def test_modules_are_found_where_the_operator_says(tmp_path: Path, cache: Cache, inside: str) -> None:
    tree(tmp_path / "named" / inside)
    kernel = find_modules(tmp_path / "vmlinuz", RELEASE, WANTED, cache, tmp_path / "named")
    assert kernel is not None and "xen_blkfront" in kernel.module_infos()


def test_modules_of_another_kernel_are_not_taken(tmp_path: Path, cache: Cache) -> None:
    tree(tmp_path / "modules")
    assert find_modules(tmp_path / "vmlinuz", "6.2", WANTED, cache) is None
    with pytest.raises(ConfigError, match=r"for the kernel 6\.1\.0-test, not for 6\.2"):
        find_modules(tmp_path / "vmlinuz", "6.2", WANTED, cache, tmp_path / "modules")


def test_a_named_directory_without_modules_is_refused(tmp_path: Path, cache: Cache) -> None:
    with pytest.raises(ConfigError, match="no kernel modules here"):
        find_modules(tmp_path / "vmlinuz", RELEASE, WANTED, cache, tmp_path)


@pytest.mark.parametrize(("named", "hint"), [("none", "$"), ("All", r" \('all' stands for all of the distribution's")])
def test_a_named_directory_that_is_none_is_told_as_that(tmp_path: Path, cache: Cache, named: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"^--modules {named}: there is no such folder{hint}"):
        find_modules(tmp_path / "vmlinuz", RELEASE, WANTED, cache, Path(named))


@pytest.mark.parametrize("release", ["../../etc", "/etc", "", "a/b", ".."])
def test_a_release_that_is_no_name_leads_nowhere(tmp_path: Path, cache: Cache, release: str) -> None:
    tree(tmp_path / "etc")
    assert find_modules(tmp_path / "boot" / "vmlinuz", release, WANTED, cache) is None


def test_the_image_tells_its_release_and_what_is_built_in() -> None:
    image = memoryview(b"\0Linux version 6.1.0-test (x@y) #1\0blkfront: %s: %s\0")
    assert release_of(image) == RELEASE
    assert has_driver(image, "blkfront") and not has_driver(image, "netfront")


@pytest.mark.parametrize("line", ["drivers/block/xen-blkfront.ko", "drivers/block/xen-blkfront.o"])
def test_of_a_tree_that_a_kernel_was_built_in_only_this_builds_modules_are_taken(
    tmp_path: Path, cache: Cache, line: str
) -> None:
    tree(tmp_path)
    (tmp_path / "include/config").mkdir(parents=True)
    (tmp_path / "include/config/kernel.release").touch()
    (tmp_path / "loop.ko").write_bytes(b"a leftover")
    (tmp_path / "modules.order").write_text(f"{line}\ndrivers/xen/xenbus-probe.ko\nnot/built.ko\n")
    kernel = find_modules(tmp_path / "arch/x86/boot/bzImage", RELEASE, WANTED, cache)
    assert kernel is not None
    assert kernel.module_infos().keys() == {"xen_blkfront", "xenbus_probe"}


def test_all_modules_are_taken_where_there_is_room_and_those_that_are_wanted_elsewhere(
    tmp_path: Path, cache: Cache
) -> None:
    tree(tmp_path / "modules")
    huge = tmp_path / "modules/drivers/gpu/huge.ko"
    huge.write_bytes(module("huge"))
    size = sum(path.stat().st_size for path in (tmp_path / "modules").rglob("*.ko"))
    found = [find_modules(tmp_path / "vmlinuz", RELEASE, WANTED, cache, room=room) for room in (size, size - 1)]
    assert [kernel is not None and "huge" in kernel.module_infos() for kernel in found] == [True, False]
    huge.write_bytes(b"no module at all")
    kernel = find_modules(tmp_path / "vmlinuz", RELEASE, WANTED, cache, room=size)
    assert kernel is not None and kernel.module_infos().keys() == {"xen_blkfront", "xenbus_probe"}


def test_of_a_tree_what_is_left_is_told_by_its_path_unless_it_is_no_good_or_lacks_something(tmp_path: Path) -> None:
    tree(tmp_path)
    (tmp_path / "net").mkdir()
    for name, depends in (("usb_core", ""), ("usb_net", "usb_core,xenbus_probe"), ("lost", "nowhere"), ("bad", "")):
        (tmp_path / f"net/{name}.ko").write_bytes(module(name, depends=depends) if name != "bad" else b"")
    (tmp_path / "modules.order").write_text(
        "".join(f"net/{name}.o\n" for name in ("usb_net", "usb_core", "lost", "bad", "not_built"))
        + "drivers/xen/xenbus-probe.ko\n"
    )
    others = {"xenbus_probe": read_modinfo(module("xenbus_probe"), "xenbus_probe")}
    left = left_in_tree(tmp_path, others)
    assert left.keys() == {"net/usb_net.ko", "net/usb_core.ko"}
    assert left["net/usb_net.ko"].depends == ("usb_core", "xenbus_probe")
    assert left_in_tree(tmp_path, {}).keys() == {"net/usb_core.ko", "net/usb_net.ko", "drivers/xen/xenbus-probe.ko"}
