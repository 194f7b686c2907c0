"""All modules of a kernel's packages, where modprobe finds them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.toolstack.provision.test_kernels import Distribution
from xenia.errors import ConfigError
from xenia.toolstack.config.disk import DiskConfig
from xenia.toolstack.config.machine import MachineConfig
from xenia.toolstack.config.share import ShareConfig
from xenia.toolstack.provision import all_modules as whole
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.provision.kernels import Kernels
from xenia.toolstack.scripting.boot import Quiet


def test_the_packages_whole_tree_is_fetched_once_and_goes_with_the_kernel(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    client = Distribution(cache)
    kernels = Kernels(cache, client)
    kernel = kernels.get("amd64")
    folder = whole.all_modules(kernel, cache, client)
    assert sorted(path.name for path in folder.iterdir()) == [
        "crc16.ko", "ext4.ko", "huge.ko", "modules.alias", "modules.dep", "xen_blkfront.ko",
    ]  # fmt: skip
    assert "ext4.ko: crc16.ko\n" in (folder / "modules.dep").read_text()
    client.downloads.clear()
    assert whole.all_modules(kernel, cache, client) == folder and not client.downloads
    kernels.remove("6.1.0-9")
    assert not folder.exists()


@pytest.mark.parametrize("has_client", [True, False])
def test_a_guest_has_them_as_a_folder_or_on_a_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_client: bool
) -> None:
    cache = Cache(tmp_path / "cache")
    client = Distribution(cache)
    monkeypatch.setattr(whole, "Cache", lambda: cache)
    monkeypatch.setattr(whole, "PackageClient", lambda *_: client)
    config = MachineConfig(modules="all", devices=(ShareConfig("/src", "share0", "/src"),))
    assert whole.with_all_modules(MachineConfig(), Quiet()) == MachineConfig()
    kernel = Kernels(cache, client).get("amd64")
    infos = dict.fromkeys(("9p", "9pnet_xen") if has_client else ())
    monkeypatch.setattr(type(kernel), "module_infos", lambda self: infos)
    found = whole.with_all_modules(config, Quiet())
    folder, place = str(cache.root / "all-modules" / kernel.release), f"/lib/modules/{kernel.release}"
    assert found.modules is None
    if has_client:
        assert found.disks == ()
        assert found.devices == (*config.devices, ShareConfig(folder, "modules", place, read_only=True))
    else:
        assert found.devices == config.devices
        assert found.disks == (DiskConfig(f"folder:{folder}", "xvdz", place, read_only=True),)


def test_a_kernel_that_is_no_package_of_the_distributions_has_none_of_its_modules(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(b"")
    with pytest.raises(ConfigError, match="of your own, name the folder"):
        whole.with_all_modules(MachineConfig(kernel=str(tmp_path / "vmlinuz"), modules="all"), Quiet())
    with pytest.raises(ConfigError, match="without --initrd"):
        MachineConfig(modules="all", initrd="initrd")
    with pytest.raises(ConfigError, match=r"write 'all' for all there are$"):
        MachineConfig(modules="All")
