"""Kernels and busybox in the cache, from packages of a made-up distribution."""

import gzip
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from xenia.errors import ConfigError
from xenia.testing.kernels import bzimage, elf_image
from xenia.testing.packages import deb, module
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.provision.initramfs import base_initramfs
from xenia.toolstack.provision.kernels import Kernels, held, unpacked, unpacked_image
from xenia.toolstack.provision.packages import Package, PackageClient

TREE = "lib/modules/6.1.0-9-amd64/kernel"
PACKED = bzimage(gzip.compress(elf_image([(0, b"text", 4)])))
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
    "linux-image-cloud-amd64": (("linux-image-6.1.0-10-cloud-amd64",), {}),
    "linux-image-6.1.0-10-cloud-amd64": ((), {"boot/vmlinuz-6.1.0-10-cloud-amd64": PACKED}),
    "linux-image-6.12.1+deb12-amd64": ((), {"boot/vmlinuz-6.12.1+deb12-amd64": b"older"}),
    "linux-image-6.12.3+deb12-amd64": ((), {"boot/vmlinuz-6.12.3+deb12-amd64": b"newer"}),
    "linux-image-6.12.3+deb12-amd64-dbg": ((), {}),
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

    def search(self, beginning: str, wanted: Callable[[str], bool]) -> Iterator[list[Package]]:
        names = [name for name in PACKAGES if name.startswith(beginning) and wanted(name)]
        yield [Package(name, f"{name.count('6')}.9-1", 1, PACKAGES[name][0]) for name in names]

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
    assert names == ["config", "modules", "package", "vmlinuz", "wanted-modules"]


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
    assert kernels.renew("amd64") == (kernels.get("amd64"), False)
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


def test_the_newest_kernel_of_a_version_is_chosen_and_fetched_once(cache: Cache, client: Distribution) -> None:
    kernels = Kernels(cache, client)
    assert kernels.choose("6.12").image.read_bytes() == b"newer"
    assert kernels.choose("6.1-cloud").release == "6.1.0-10-cloud-amd64"
    assert kernels.choose("6.1", "cloud-amd64").release == "6.1.0-10-cloud-amd64"
    assert len(client.downloads) == 2
    assert kernels.fetch("6.12") == (kernels.choose("6.12"), False)


def test_a_cached_kernel_of_the_version_is_taken_without_asking_for_a_newer_one(
    cache: Cache, client: Distribution
) -> None:
    kernels = Kernels(cache, client)
    older = kernels.choose("6.12.1")
    assert kernels.choose("6.12") == older
    assert kernels.fetch("6.12")[0].release == "6.12.3+deb12-amd64"
    assert kernels.choose("6.12").release == "6.12.3+deb12-amd64"


def test_an_unknown_version_says_what_there_is(cache: Cache, client: Distribution) -> None:
    with pytest.raises(ConfigError, match=r"no kernel 6\.6 .*; there are 6\.1, 6\.1-cloud, 6\.12 \("):
        Kernels(cache, client).choose("6.6")


def test_the_list_has_what_is_cached_and_what_could_be_fetched(cache: Cache, client: Distribution) -> None:
    kernels = Kernels(cache, client)
    kernels.get("amd64")
    kernels.get("cloud-amd64")
    kernels.choose("6.12.1")
    found = [(str(offer.release), offer.disk > 0, offer.is_usual) for offer in kernels.offers()]
    assert found == [
        ("6.1.0-9-amd64", True, True),
        ("6.1.0-10-cloud-amd64", True, False),
        ("6.12.1+deb12-amd64", True, False),
        ("6.12.3+deb12-amd64", False, False),
    ]
    assert [str(offer.release) for offer in kernels.offers(look=False)] == [
        "6.1.0-9-amd64", "6.1.0-10-cloud-amd64", "6.12.1+deb12-amd64",
    ]  # fmt: skip


def test_a_removed_kernel_leaves_nothing_behind(cache: Cache, client: Distribution) -> None:
    kernels = Kernels(cache, client)
    kernels.choose("6.1")
    busybox = cache.path("tools")
    busybox.write_bytes(b"\0[\0[[\0sh\0\0")
    kept = files(cache)
    kernel = kernels.choose("6.1-cloud")
    unpacked(kernel.image, cache)
    base_initramfs(cache, busybox, kernel, agent=b"agent")
    assert len(files(cache) - kept) == 5
    (offer,) = (offer for offer in kernels.offers() if offer.kernel == kernel)
    assert kernels.remove("6.1.0-10-cloud") == (kernel.release, offer.disk)
    assert files(cache) == kept


def test_a_kernel_that_a_guest_was_booted_from_is_not_removed(cache: Cache, client: Distribution) -> None:
    kernels = Kernels(cache, client)
    with held(unpacked(kernels.choose("6.1-cloud").image, cache)[1]):
        before = files(cache)
        with pytest.raises(ConfigError, match=r"a guest runs that was booted from 6\.1\.0-10-cloud-amd64"):
            kernels.remove("6.1-cloud")
        assert files(cache) == before
    kernels.remove("6.1-cloud")
    assert kernels.cached() == []


def test_only_one_kernel_that_is_there_is_removed(cache: Cache, client: Distribution) -> None:
    kernels = Kernels(cache, client)
    with pytest.raises(ConfigError, match="there are none in it"):
        kernels.remove("6.12")
    for version in ("6.12.1", "6.12.3"):
        kernels.choose(version)
    with pytest.raises(ConfigError, match=r"6\.12 means 6\.12\.1\+deb12-amd64 and 6\.12\.3\+deb12-amd64"):
        kernels.remove("6.12")
    with pytest.raises(ConfigError, match=r"no kernel 6\.6 in the cache; there are 6\.12\.1"):
        kernels.remove("6.6")
    assert len(kernels.cached()) == 2


def files(cache: Cache) -> set[Path]:
    """All files in the cache that are not there to be locked."""
    return {path for path in cache.root.rglob("*") if path.is_file() and not path.name.endswith(".lock")}


def test_busybox_is_fetched_once(cache: Cache, client: Distribution) -> None:
    kernels = Kernels(cache, client)
    assert kernels.busybox().read_bytes() == b"the busybox"
    assert kernels.busybox().read_bytes() == b"the busybox"
    assert client.downloads == ["busybox-static"]


def test_an_image_is_unpacked_once_and_then_comes_from_the_cache(cache: Cache, tmp_path: Path) -> None:
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
