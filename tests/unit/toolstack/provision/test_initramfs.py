"""The initial RAM disk: what is in it, that it is always the same, and that it is built once."""

from functools import partial
from pathlib import Path

import pytest

from xenia.agent.build import compile_agent
from xenia.agent.config import CONFIG_NAME, AgentConfig, brings_agent
from xenia.errors import ConfigError
from xenia.testing.packages import module
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.provision.cpio import last_file
from xenia.toolstack.provision.initramfs import (
    Base,
    agent_binary,
    base_initramfs,
    busybox_applets,
    initramfs,
    with_mounts,
)
from xenia.toolstack.provision.kernels import Kernel
from xenia.toolstack.provision.modules import read_modinfo

BUSYBOX = b"\x7fELF code\0[\0[[\0ash\0busybox\0cat\0sh\0\0more code"


def entries(data: bytes) -> dict[str, tuple[int, bytes]]:
    """Name to (mode, contents) of the archives in `data`, as the kernel reads them."""
    result: dict[str, tuple[int, bytes]] = {}
    at = 0
    while at < len(data):
        if data[at] == 0:
            at += 4
            continue
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        name = data[at + 110 : at + 109 + fields[11]].decode()
        body = at + (110 + fields[11] + 3 & ~3)
        if name != "TRAILER!!!":
            result[name] = fields[1], data[body : body + fields[6]]
        at = body + (fields[6] + 3 & ~3)
    return result


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def busybox(tmp_path: Path) -> Path:
    path = tmp_path / "busybox"
    path.write_bytes(BUSYBOX)
    return path


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    modules = tmp_path / "modules"
    modules.mkdir()
    for name, depends in (("xen_netfront", "xen_core"), ("xen_core", ""), ("ext4", "")):
        (modules / f"{name}.ko").write_bytes(module(name, depends=depends))
    return Kernel("6.1.0-9", tmp_path / "vmlinuz", None, modules)


base_of = partial(base_initramfs, agent=b"the agent")


def test_it_holds_busybox_its_applets_the_agent_and_the_modules_with_what_they_need(
    cache: Cache, busybox: Path, kernel: Kernel
) -> None:
    base = base_of(cache, busybox, kernel, ["xen-netfront", "xen-blkfront"])
    found = entries(base.data)
    assert found["init"] == (0o100755, b"the agent")
    assert found["bin/busybox"] == (0o100755, BUSYBOX)
    assert found["bin/sh"] == (0o120777, b"busybox")
    assert found["dev/console"][0] == 0o020600
    assert base.modules == ("/lib/modules/6.1.0-9/xen_core.ko", "/lib/modules/6.1.0-9/xen_netfront.ko")
    assert found["lib/modules/6.1.0-9/modules.dep"][1] == b"xen_core.ko:\nxen_netfront.ko: xen_core.ko\n"
    assert "lib/modules/6.1.0-9/ext4.ko" not in found


def test_modules_that_will_be_elsewhere_are_found_there_with_what_they_need(
    cache: Cache, busybox: Path, kernel: Kernel
) -> None:
    info = read_modinfo(module("usb_net", depends="xen_core", alias="usb:v1*"), "usb_net")
    base = base_of(cache, busybox, kernel, ["xen-core"], elsewhere={"build/drivers/usb-net.ko": info})
    found = entries(base.data)
    assert found["lib/modules/6.1.0-9/modules.dep"][1] == b"xen_core.ko:\nbuild/drivers/usb-net.ko: xen_core.ko\n"
    assert found["lib/modules/6.1.0-9/modules.alias"][1] == b"alias usb:v1* usb_net\n"
    assert base.modules == ("/lib/modules/6.1.0-9/xen_core.ko",)
    assert base_of(cache, busybox, kernel, ["xen-core"]).data != base.data


def test_file_systems_are_carried_for_the_kernel_to_ask_for_and_for_mount_to_try(
    cache: Cache, busybox: Path, kernel: Kernel
) -> None:
    (kernel.modules / "xfs.ko").write_bytes(module("xfs", alias="fs-xfs", softdep="pre: crc32c"))
    (kernel.modules / "crc32c_intel.ko").write_bytes(module("crc32c_intel", alias="crc32c"))
    base = base_of(cache, busybox, kernel, ["xen-netfront"], ["xfs", "ufs"])
    found = entries(base.data)
    assert base.modules == ("/lib/modules/6.1.0-9/xen_core.ko", "/lib/modules/6.1.0-9/xen_netfront.ko")
    assert "xfs.ko: crc32c_intel.ko\n" in found["lib/modules/6.1.0-9/modules.dep"][1].decode()
    assert "alias fs-xfs xfs\n" in found["lib/modules/6.1.0-9/modules.alias"][1].decode()
    assert found["etc/filesystems"][1] == b"xfs\n"


def test_directories_come_before_what_is_in_them(cache: Cache, busybox: Path, kernel: Kernel) -> None:
    seen = {""}
    links = {"sbin", "usr/bin", "usr/sbin"}
    for name in entries(base_of(cache, busybox, kernel).data):
        assert name.rpartition("/")[0] in seen - links
        seen.add(name)


def test_it_is_built_once_and_again_when_something_in_it_changes(cache: Cache, busybox: Path, kernel: Kernel) -> None:
    first = base_of(cache, busybox, kernel)
    assert base_of(cache, busybox, kernel) == first
    assert len(list((cache.root / "initramfs").iterdir())) == 1
    assert base_initramfs(cache, busybox, kernel, agent=b"a new agent").data != first.data
    assert len(list((cache.root / "initramfs").iterdir())) == 2


def test_a_runs_configuration_follows_as_a_second_archive(cache: Cache, busybox: Path) -> None:
    base = base_of(cache, busybox, None)
    config = AgentConfig(args=["true"])
    found = entries(initramfs(base, config, {"/root/run.sh": b"echo hi\n"}))
    assert found["xenia.conf"] == (0o100600, config.encode())
    assert found["root/run.sh"] == (0o100755, b"echo hi\n")
    assert found["init"][1] == b"the agent"


def test_who_boots_it_knows_that_an_agent_will_come(cache: Cache, busybox: Path) -> None:
    base = base_of(cache, busybox, None)
    assert brings_agent(initramfs(base, AgentConfig()))
    assert not brings_agent(base.data)


def test_a_guest_that_boots_again_is_told_of_the_folders_that_it_has_by_then() -> None:
    shares = ("share0:rw:/a", "share1:ro:/b", "xvdz:disk:/c")
    ramdisk = initramfs(Base(bytes(512), ()), AgentConfig(args=("share=x",), shares=shares))
    told = last_file(ramdisk, CONFIG_NAME)
    assert told is not None and last_file(ramdisk, "other") is None
    now = {word.partition(":")[0]: word for word in shares}
    assert with_mounts(ramdisk, now) == ramdisk
    del now["share0"]
    again = with_mounts(ramdisk, now | {"share2": "share2:rw:/d e"})
    assert again.startswith(ramdisk)
    assert last_file(again, CONFIG_NAME) == told.replace(b"share=share0:rw:/a\0", b"") + b"share=+share2:rw:/d e\0"
    for other in (b"", b"xenia.conf\0", b"\x1f\x8b" + bytes(100)):
        assert with_mounts(other, now) == other


def test_files_of_a_run_bring_their_directories(cache: Cache, busybox: Path) -> None:
    whole = initramfs(base_of(cache, busybox, None), AgentConfig(), {"/tools/a": b"1", "/tools/b": b"2"})
    names = list(entries(whole))
    assert names[-3:] == ["tools", "tools/a", "tools/b"]


def test_a_busybox_without_a_shell_is_refused() -> None:
    assert busybox_applets(BUSYBOX) == ["[", "[[", "ash", "busybox", "cat", "sh"]
    with pytest.raises(ConfigError, match="no shell among its applets"):
        busybox_applets(b"not a busybox")


def test_an_agent_that_did_not_come_with_the_package_is_compiled_once(tmp_path: Path) -> None:
    compiled: list[Path] = []

    def pretend(target: Path) -> None:
        compiled.append(target)
        target.write_bytes(b"fresh")

    cache = Cache(tmp_path / "cache")
    assert agent_binary(cache, tmp_path / "none", pretend) == b"fresh"
    assert agent_binary(cache, tmp_path / "none", pretend) == b"fresh"
    assert len(compiled) == 1


def test_without_a_compiler_the_agent_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no C compiler for x86-64 Linux"):
        agent_binary(Cache(tmp_path / "cache"), tmp_path / "none", partial(compile_agent, find=lambda: None))


def test_modules_are_told_what_they_do_better_with(cache: Cache, busybox: Path, kernel: Kernel) -> None:
    (kernel.modules / "xen_blkfront.ko").write_bytes(module("xen_blkfront"))
    base = base_of(cache, busybox, kernel, ["xen-blkfront"])
    assert base.modules == ("/lib/modules/6.1.0-9/xen_blkfront.ko max_indirect_segments=256",)


def test_a_base_without_a_kernel_has_no_modules(cache: Cache, busybox: Path) -> None:
    base = base_of(cache, busybox, None)
    assert isinstance(base, Base)
    assert base.modules == ()
