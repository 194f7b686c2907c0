"""libslirp: the host's own, or its packages unpacked in the cache, and loaded from there."""

from __future__ import annotations

from pathlib import Path

import pytest

from xenia.errors import ConfigError
from xenia.net.service.client import NetworkConfig, start_network
from xenia.testing.packages import deb
from xenia.toolstack.doctor import Status, check_network
from xenia.toolstack.provision import slirp
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.provision.packages import Package, PackageClient


class Packages(PackageClient):
    """A package client that has these three, each with one library."""

    def __init__(self, folder: str = "./usr/lib/x86_64-linux-gnu") -> None:
        self._folder = folder

    def find(self, names: object) -> Package:
        assert isinstance(names, tuple)
        return Package(names[-1], "1", 1, ())

    def download(self, package: Package, directory: Path) -> Path:
        library = next(name for name, packages in slirp.LIBRARIES.items() if package.name in packages)
        path = directory / f"{package.name}_1_amd64.deb"
        folder = self._folder.removeprefix("./")
        files = {f"{folder}/{library}.9.9": f"this is {library}".encode(), f"{folder}/other.so": b""}
        path.write_bytes(deb(files, links={f"{folder}/{library}": f"{library}.9.9"}))
        return path


def test_the_hosts_own_is_taken_where_it_has_one(tmp_path: Path) -> None:
    assert slirp.of_host([str(tmp_path)]) is None
    there = tmp_path / "x86_64-linux-gnu" / "libslirp.so.0"
    there.parent.mkdir()
    there.touch()
    assert slirp.of_host([str(tmp_path)]) == there
    assert slirp.libraries(Cache(tmp_path / "cache"), host=there) == ()


def test_its_packages_libraries_are_unpacked_into_the_cache_in_the_order_of_loading(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert slirp.in_cache(cache) is None
    found = slirp.fetch(cache, Packages())
    assert [Path(path).name for path in found] == ["libpcre2-8.so.0", "libglib-2.0.so.0", "libslirp.so.0"]
    assert [Path(path).read_text() for path in found] == [f"this is {Path(path).name}" for path in found]
    assert slirp.in_cache(cache) == found


def test_a_package_without_its_library_is_one_line(tmp_path: Path) -> None:
    class Empty(Packages):
        def download(self, package: Package, directory: Path) -> Path:
            path = directory / "libpcre2-8-0_1_amd64.deb"
            path.write_bytes(deb({"usr/share/nothing": b""}))
            return path

    with pytest.raises(ConfigError, match=r"has no libpcre2-8\.so\.0 in it"):
        slirp.fetch(Cache(tmp_path), Empty())
    assert slirp.in_cache(Cache(tmp_path)) is None


def test_where_it_cannot_be_had_one_line_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slirp, "of_host", lambda: None)
    monkeypatch.setattr(PackageClient, "available", staticmethod(lambda: False))
    with pytest.raises(ConfigError, match=r"no libslirp for a network: .*; install libslirp0, or give --net none"):
        slirp.libraries(Cache(tmp_path))
    check = check_network(Cache(tmp_path), lambda: None)
    assert (check.status, check.remedy) == (Status.WARN, "install libslirp0")


def test_doctor_says_which_is_there(tmp_path: Path) -> None:
    assert "/lib/libslirp.so.0" in check_network(Cache(tmp_path), lambda: Path("/lib/libslirp.so.0")).detail
    slirp.fetch(Cache(tmp_path), Packages())
    assert str(tmp_path / "slirp") in check_network(Cache(tmp_path), lambda: None).detail


def test_a_network_runs_with_what_the_package_client_fetches(tmp_path: Path) -> None:
    if not PackageClient.available():
        pytest.skip("no package client on this host")
    try:
        found = slirp.fetch(Cache(tmp_path), PackageClient(Cache(tmp_path)))
    except ConfigError as error:
        pytest.skip(f"the packages cannot be had here: {error}")
    client = start_network(NetworkConfig(libraries=found))
    try:
        maps = Path(f"/proc/{client.hello()['pid']}/maps").read_text()
    except PermissionError:
        pytest.skip("what a jailed process has loaded is hidden here")
    finally:
        client.close()
    assert all(path in maps for path in found)
    assert "/libglib-2.0.so.0" in maps
    assert not [line for line in maps.splitlines() if "libslirp" in line and str(tmp_path) not in line]
