"""apt as the package client sees it: a stand-in on PATH says what apt would."""

import os
from pathlib import Path

import pytest

from xenia.errors import ConfigError
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.provision.packages import Package, PackageClient, parse_stanza, parse_uris

STANZA = """\
Package: linux-image-amd64
Version: 6.1.192-2
Depends: linux-image-6.1.0-56-amd64 (= 6.1.192-2), foo | bar
Pre-Depends: dpkg (>= 1)
Filename: pool/l/linux-image-amd64.deb
Size: 1480
Description: Linux
 more: words
"""
# Knows the package once its lists were updated, if they can be; says what it was called with.
APT = """\
#!/bin/sh
echo "$0 $*" >> "$APT_TEST/calls"
case "$*" in
*update*)
    [ -e "$APT_TEST/offline" ] && { echo "W: Failed to fetch http://x/InRelease  Could not connect"; exit 0; }
    touch "$APT_TEST/updated" ;;
*--print-uris*)
    [ -e "$APT_TEST/updated" ] || [ -e "$APT_TEST/system" ] || { echo "E: Unable to locate package a" >&2; exit 100; }
    echo "Reading..."
    echo "'http://x/pool/a_1%3a2_amd64.deb' a_1%3a2_amd64.deb 3 SHA256:00"
    echo "'http://x/pool/b_1_all.deb' b_1_all.deb 4 SHA256:00" ;;
*--download-only*)
    [ -e "$APT_TEST/offline" ] && { echo "E: Failed to fetch http://x/a.deb  Could not connect"; exit 100; }
    echo "dlstatus:1:50.0:Retrieving"
    for option; do case "$option" in Dir::Cache::archives=*) cd "${option#*=}" ;; esac; done
    printf abc > a_1%3a2_amd64.deb; printf defg > b_1_all.deb ;;
*pkgnames*)
    [ -e "$APT_TEST/updated" ] || [ -e "$APT_TEST/system" ] || exit 0
    printf 'linux-image-amd64\nlinux-image-dbg\nlinux-doc\n' ;;
*show*)
    [ -e "$APT_TEST/updated" ] || [ -e "$APT_TEST/system" ] || { echo "N: No packages found" >&2; exit 100; }
    cat "$APT_TEST/stanza" ;;
*download*)
    [ -e "$APT_TEST/offline" ] && { echo "E: Failed to fetch http://x/a.deb  Could not connect"; exit 100; }
    echo "dlstatus:1:50.0:Retrieving"; echo deb > linux-image-amd64_6.1_amd64.deb ;;
esac
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host whose apt is the stand-in."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("apt-get", "apt-cache"):
        (tools / name).write_text(APT)
        (tools / name).chmod(0o755)
    (tmp_path / "stanza").write_text(STANZA)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("APT_TEST", str(tmp_path))
    monkeypatch.setattr("xenia.toolstack.provision.packages._host_architecture", lambda: "amd64")
    return tmp_path


def client(host: Path) -> PackageClient:
    return PackageClient(Cache(host / "cache"))


def calls(host: Path) -> str:
    return (host / "calls").read_text()


PACKAGE = Package("linux-image-amd64", "6.1.192-2", 1480, ("dpkg", "linux-image-6.1.0-56-amd64", "foo"))


def test_a_stanza_gives_name_version_size_and_the_first_alternative_of_each_dependency() -> None:
    assert parse_stanza(STANZA) == PACKAGE


def test_a_package_that_is_only_installed_cannot_be_fetched() -> None:
    assert parse_stanza("Package: busybox-static\nStatus: install ok installed\nVersion: 1\n") is None
    assert parse_stanza("") is None


def test_the_systems_lists_suffice_where_they_know_the_package(host: Path) -> None:
    (host / "system").touch()
    assert client(host).find(["linux-image-amd64"]) == PACKAGE
    assert "update" not in calls(host)


def test_lists_are_fetched_into_the_cache_where_the_system_has_none(host: Path) -> None:
    assert client(host).find(["linux-image-amd64"]) == PACKAGE
    (update,) = [line for line in calls(host).splitlines() if line.endswith("update")]
    assert f"Dir::State::lists={host}/cache/apt/state/lists" in update


def test_offline_without_lists_says_so(host: Path) -> None:
    (host / "offline").touch()
    with pytest.raises(ConfigError, match=r"no package a or b in .* \(Failed to fetch .* Could not connect\)"):
        client(host).find(["a", "b"])


def test_a_search_asks_the_next_place_only_where_the_first_does_not_do(host: Path) -> None:
    (host / "system").touch()
    found = client(host).search("linux-image-", lambda name: not name.endswith("dbg"))
    assert next(found) == [PACKAGE]
    assert "update" not in calls(host)
    assert next(found) == [PACKAGE]
    assert "update" in calls(host)
    assert "show linux-image-amd64\n" in calls(host)


def test_a_search_that_finds_nothing_says_why(host: Path) -> None:
    (host / "offline").touch()
    asked = client(host)
    assert list(asked.search("linux-image-", lambda name: True)) == []
    assert "Could not connect" in asked.because()


def test_a_download_lands_in_the_directory_and_reports_progress(host: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    client = PackageClient(Cache(host / "cache"), lambda what, done, total: seen.append((what, done, total)))
    path = client.download(PACKAGE, host)
    assert path == host / "linux-image-amd64_6.1_amd64.deb"
    assert seen == [("fetching linux-image-amd64", 0, 1480), ("fetching linux-image-amd64", 740, 1480)]


def test_a_download_that_fails_says_why(host: Path) -> None:
    (host / "offline").touch()
    with pytest.raises(ConfigError, match=r"cannot fetch linux-image-amd64 \(Failed to fetch .*connect\)"):
        client(host).download(PACKAGE, host)


def test_the_files_of_a_system_are_what_apt_names() -> None:
    text = "Reading...\n'http://x/a_1%3a2_amd64.deb' a_1%3a2_amd64.deb 123 SHA256:0f\n'file:/b.deb' b_1_all.deb 4 \n"
    assert parse_uris(text) == {"a_1%3a2_amd64.deb": 123, "b_1_all.deb": 4}


def test_a_system_is_fetched_at_once_and_only_once(host: Path) -> None:
    (host / "system").touch()
    seen: list[tuple[str, int, int]] = []
    fetching = PackageClient(Cache(host / "cache"), lambda what, done, total: seen.append((what, done, total)))
    paths = fetching.fetch_system(["?essential", "a"], host / "kept")
    assert [path.read_bytes() for path in paths] == [b"abc", b"defg"]
    assert seen == [("fetching 2 packages", 0, 7), ("fetching 2 packages", 3, 7)]
    (host / "offline").touch()
    assert fetching.fetch_system(["?essential", "a"], host / "kept") == paths
    assert calls(host).count("--download-only") == 1
    assert "APT::Install-Recommends=false --yes install ?essential a" in calls(host)


def test_a_system_is_found_in_lists_of_our_own_where_the_hosts_do_not_do(host: Path) -> None:
    assert len(client(host).fetch_system(["a"], host / "kept")) == 2
    (download,) = [line for line in calls(host).splitlines() if "--download-only" in line]
    assert f"Dir::State::lists={host}/cache/apt/state/lists" in download


def test_a_system_that_cannot_be_had_says_why(host: Path) -> None:
    (host / "offline").touch()
    with pytest.raises(ConfigError, match=r"cannot fetch the packages of a system \(.*Could not connect\)"):
        client(host).fetch_system(["a"], host / "kept")


def test_a_host_without_apt_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not PackageClient.available()
    with pytest.raises(ConfigError, match="no package client"):
        client(tmp_path).find(["linux-image-amd64"])
