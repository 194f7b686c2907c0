"""Debian packages, read member by member."""

import shutil
import subprocess
from pathlib import Path

import pytest

from xenia.errors import ConfigError
from xenia.testing.packages import deb
from xenia.toolstack.provision.deb import read_control, read_deb, unpacked_deb

FILES = {"boot/vmlinuz-1": b"kernel" * 1000, "usr/share/doc/x": b""}


def contents(path: Path) -> dict[str, bytes]:
    return {member.name: file.read() for member, file in read_deb(path) if file is not None}


@pytest.mark.parametrize("packing", ["xz", "zst", "gz", ""])
def test_every_packing_is_read(tmp_path: Path, packing: str) -> None:
    path = tmp_path / "a.deb"
    path.write_bytes(deb(FILES, packing))
    assert contents(path) == {f"./{name}" if not name.startswith("./") else name: data for name, data in FILES.items()}


@pytest.mark.parametrize("packing", ["xz", ""])
def test_control_files_are_read_with_their_modes(tmp_path: Path, packing: str) -> None:
    path = tmp_path / "a.deb"
    path.write_bytes(deb(FILES, packing, control={"control": b"Package: a\n", "postinst": b"#!/bin/sh\n"}))
    found = read_control(path)
    assert found["control"].data == b"Package: a\n"
    assert (found["postinst"].data, found["postinst"].mode) == (b"#!/bin/sh\n", 0o755)


def test_an_unpacked_package_says_the_same_with_nothing_packed(tmp_path: Path) -> None:
    packed, unpacked = tmp_path / "a.deb", tmp_path / "b.deb"
    packed.write_bytes(deb(FILES, control={"control": b"Package: a\n"}))
    unpacked.write_bytes(unpacked_deb(packed))
    assert contents(unpacked) == contents(packed)
    assert read_control(unpacked) == read_control(packed)
    assert unpacked_deb(unpacked) == unpacked.read_bytes()
    if shutil.which("dpkg-deb"):
        shown = subprocess.run(["dpkg-deb", "--ctrl-tarfile", unpacked], capture_output=True, check=True)
        assert b"Package: a" in shown.stdout


def test_progress_counts_the_packed_bytes(tmp_path: Path) -> None:
    path = tmp_path / "linux-image-1_2_amd64.deb"
    path.write_bytes(deb(FILES))
    seen: list[tuple[str, int, int]] = []
    for _ in read_deb(path, lambda what, done, total: seen.append((what, done, total))):
        pass
    assert seen[-1][0] == "unpacking linux-image-1"
    assert seen[-1][1] == seen[-1][2] > 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\3\4 not a package", "not a Debian package"),
        (deb(FILES)[:70], "truncated Debian package"),
        (deb(FILES)[:-60], "damaged Debian package"),
        (deb(FILES).replace(b"100644  4         `", b"100644  -64       `"), "damaged Debian package"),
        (deb(FILES).replace(b"data.tar.xz", b"data.tar.lz"), r"unknown way \(\.lz\)"),
    ],
)
def test_a_damaged_package_is_one_clear_line(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.deb"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=message):
        contents(path)
