"""What an operator calls a kernel, and which ones that means."""

from __future__ import annotations

import pytest

from xenia.errors import ConfigError
from xenia.toolstack.provision.release import Release, named, shortest_names

DEBIAN = Release("6.1.0-9", "amd64")


def release(text: str) -> Release:
    found = Release.parse(text)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "version", "flavour"),
    [
        ("6.1.0-56-amd64", "6.1.0-56", "amd64"),
        ("6.12.117+deb12-cloud-amd64", "6.12.117+deb12", "cloud-amd64"),
        ("6.1.0-0.deb11.5-rt-amd64", "6.1.0-0.deb11.5", "rt-amd64"),
        ("6.8.0-45-generic", "6.8.0-45", "generic"),
        ("6.18~rc4-amd64", "6.18~rc4", "amd64"),
        ("6.12", "6.12", ""),
        ("6.1-cloud", "6.1", "cloud"),
    ],
)
def test_a_release_is_a_version_and_a_flavour(text: str, version: str, flavour: str) -> None:
    assert release(text) == Release(version, flavour)
    assert str(release(text)) == text


@pytest.mark.parametrize("text", ["", "amd64", "vmlinuz-6.1", "./6.1", "6.1/vmlinuz", "-6.1", "6." * 40, "6.1\n"])
def test_what_is_no_version_is_none(text: str) -> None:
    assert Release.parse(text) is None
    with pytest.raises(ConfigError, match="no version of a kernel"):
        named(text)


@pytest.mark.parametrize(
    ("text", "other", "means"),
    [
        ("6.1", "6.1.0-9-amd64", True),
        ("6.1", "6.12.1+deb12-amd64", False),
        ("6.1.0-9", "6.1.0-9-amd64", True),
        ("6.1.0-9", "6.1.0-90-amd64", False),
        ("6", "6.12.1+deb12-amd64", True),
        ("6.1", "6.1.0-9-cloud-amd64", False),
        ("6.1-cloud", "6.1.0-9-cloud-amd64", True),
        ("6.1-cloud-amd64", "6.1.0-9-cloud-amd64", True),
        ("6.1-clou", "6.1.0-9-cloud-amd64", False),
        ("6.8", "6.8.0-45-generic", True),
    ],
)
def test_a_beginning_means_what_begins_with_it_in_the_usual_flavour_or_the_named_one(
    text: str, other: str, means: bool
) -> None:
    assert named(text).means(release(other)) == means


def test_the_packages_version_is_as_good_as_the_releases() -> None:
    assert named("6.1.192").means(DEBIAN, "6.1.192-2")
    assert not named("6.1.19").means(DEBIAN, "6.1.192-2")


def test_a_flavour_is_named_once() -> None:
    assert named("6.1", "cloud-amd64") == Release("6.1", "cloud-amd64")
    with pytest.raises(ConfigError, match="names a flavour already"):
        named("6.1-cloud", "cloud-amd64")


def test_what_belongs_to_a_kernel_or_leads_to_one_is_no_kernel() -> None:
    names = ("6.1.0-9-amd64", "6.1.0-9-amd64-dbg", "6.1.0-9-amd64-unsigned", "6.12-amd64", "6.12-amd64-signed-template")
    assert [name for name in names if release(name).is_kernel] == ["6.1.0-9-amd64"]


def test_releases_are_listed_by_the_shortest_that_names_them() -> None:
    releases = map(release, ("6.12.9+deb12-amd64", "6.1.0-9-rt-amd64", "6.1.0-10-amd64", "6.1.0-9-amd64"))
    assert shortest_names(releases) == ["6.1", "6.1-rt", "6.12"]
