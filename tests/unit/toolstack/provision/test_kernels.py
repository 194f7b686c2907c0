"""Kernels and busybox in the cache, from packages of a made-up distribution."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from xenia.errors import ConfigError
from xenia.testing.kernels import bzimage, elf_image
from xenia.testing.packages import deb, module
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.provision.kernels import Kernels, unpacked_image
from xenia.toolstack.provision.packages import Package, PackageClient

TREE = "lib/modules/6.1.0-9-amd64/kernel"
PACKAGES: Mapping[str, tuple[tuple[str, ...], Mapping[str, bytes]]] = {
    "linux-image-amd64": (("linux-image-6.1.0-9-amd64",), {}),
    "linux-image-6.1.0-9-amd64": (
        ("kmod", "linux-modules-6.1.0-9-amd64"),
        {"boot/vmlinuz-6.1.0-9-amd64": b"kernel", "boot/config-6.1.0-9-amd64": b"CONFIG_XEN_PV=y\n"},
    ),
    "linux-modules-6.1.0-9-amd64": (
        (),
        {
            f"{TREE}/drivers/block/xen-blkfront.ko": module("xen_blkfront"),
            f"{TREE}/fs/ext4.ko": module("ext4", depends="crc16"),
            f"{TREE}/lib/crc16.ko": module("crc16"),
            f"{TREE}/drivers/gpu/huge.ko": module("huge"),
        },
    ),
    "busybox-static": ((), {"bin/busybox": b"the busybox"}),
}


class Distribution(PackageClient):
    """A package client whose packages are above."""

    def __init__(self, cache: Cache) -> None:
        super().__init__(cache)
        self.downloads: list[str] = []

    def find(self, names: Sequence[str]) -> Package:
        for name in names:
            if name in PACKAGES:
                return Package(name, "1", 1, PACKAGES[name][0])
        raise ConfigError(f"no package {names[0]}")

    def download(self, package: Package, directory: Path) -> Path:
        self.downloads.append(package.name)
        path = directory / f"{package.name}_1_amd64.deb"
        path.write_bytes(deb(PACKAGES[package.name][1]))
        return path


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def client(cache: Cache) -> Distribution:
    return Distribution(cache)


def test_a_kernel_is_fetched_with_the_modules_guests_may_want_and_no_others(cache: Cache, client: Distribution) -> None:
    kernel = Kernels(cache, client).get("amd64")
    assert kernel.release == "6.1.0-9-amd64"
    assert kernel.image.read_bytes() == b"kernel"
    assert kernel.config is not None
    assert kernel.config.read_bytes() == b"CONFIG_XEN_PV=y\n"
    assert sorted(kernel.module_infos()) == ["crc16", "ext4", "xen_blkfront"]
    names = sorted(path.name for path in kernel.image.parent.iterdir())
    assert names == ["config", "modules", "vmlinuz", "wanted-modules"]


def test_a_cached_kernel_is_not_fetched_again(cache: Cache, client: Distribution) -> None:
    kernels = Kernels(cache, client)
    first = kernels.get("amd64")
    downloads = list(client.downloads)
    assert kernels.get("amd64") == first
    assert client.downloads == downloads
    assert kernels.cached() == [first]


def test_a_kernel_that_was_unpacked_for_other_modules_is_fetched_again(
    cache: Cache, client: Distribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = Kernels(cache, client)
    with monkeypatch.context() as then:
        then.setattr("xenia.toolstack.provision.kernels.GUEST_MODULES", ("xen-blkfront",))
        assert sorted(kernels.get("amd64").module_infos()) == ["xen_blkfront"]
    assert sorted(kernels.get("amd64").module_infos()) == ["crc16", "ext4", "xen_blkfront"]


def test_an_update_of_what_is_up_to_date_downloads_nothing(cache: Cache, client: Distribution) -> None:
    kernels = Kernels(cache, client)
    kernels.get("amd64")
    downloads = list(client.downloads)
    kernels.get("amd64", update=True)
    assert client.downloads == downloads


def test_a_fetch_that_fails_leaves_nothing_behind(
    cache: Cache, client: Distribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(package: Package, directory: Path) -> Path:
        raise ConfigError("the network is down")

    monkeypatch.setattr(client, "download", broken)
    with pytest.raises(ConfigError, match="network is down"):
        Kernels(cache, client).get("amd64")
    assert Kernels(cache, client).cached() == []
    assert [path for path in (cache.root / "kernels").iterdir()] == []


def test_a_damaged_marker_is_as_good_as_none(cache: Cache, client: Distribution) -> None:
    kernels = Kernels(cache, client)
    kernel = kernels.get("amd64")
    marker = cache.root / "kernels" / "amd64.json"
    for damage in ("", "[]", json.dumps({"release": "gone"})):
        marker.write_text(damage)
        assert kernels.get("amd64") == kernel


def test_an_unknown_flavour_is_refused(cache: Cache, client: Distribution) -> None:
    with pytest.raises(ConfigError, match="no kernel flavour 'rt'; there are amd64, cloud-amd64"):
        Kernels(cache, client).get("rt")


def test_busybox_is_fetched_once(cache: Cache, client: Distribution) -> None:
    kernels = Kernels(cache, client)
    assert kernels.busybox().read_bytes() == b"the busybox"
    assert kernels.busybox().read_bytes() == b"the busybox"
    assert client.downloads == ["busybox-static"]


def test_an_image_is_unpacked_once_and_then_comes_from_the_cache(cache: Cache, tmp_path: Path) -> None:
    import gzip

    image = elf_image([(0, b"text" + bytes(20000) + b"data", 30000)])
    path = tmp_path / "vmlinuz"
    path.write_bytes(bzimage(gzip.compress(image)))
    assert bytes(unpacked_image(path, cache)) == image
    (stored,) = (cache.root / "images").iterdir()
    assert stored.read_bytes() == image
    assert bytes(unpacked_image(path, cache)) == image


def test_a_bare_elf_image_is_not_stored(cache: Cache, tmp_path: Path) -> None:
    path = tmp_path / "vmlinux"
    path.write_bytes(elf_image([(0, b"x", 1)]))
    assert bytes(unpacked_image(path, cache)) == path.read_bytes()
    assert not (cache.root / "images").exists()
