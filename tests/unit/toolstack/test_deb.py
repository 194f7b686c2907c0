"""Debian packages, read member by member."""

from pathlib import Path

import pytest

from xenia.errors import ConfigError
from xenia.testing.packages import deb
from xenia.toolstack.deb import read_deb

FILES = {"boot/vmlinuz-1": b"kernel" * 1000, "usr/share/doc/x": b""}


def contents(path: Path) -> dict[str, bytes]:
    return {member.name: file.read() for member, file in read_deb(path) if file is not None}


@pytest.mark.parametrize("packing", ["xz", "zst", ""])
def test_every_packing_is_read(tmp_path: Path, packing: str) -> None:
    path = tmp_path / "a.deb"
    path.write_bytes(deb(FILES, packing))
    assert contents(path) == {f"./{name}" if not name.startswith("./") else name: data for name, data in FILES.items()}


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
        (deb(FILES).replace(b"data.tar.xz", b"data.tar.lz"), r"unknown way \(\.lz\)"),
    ],
)
def test_a_damaged_package_is_one_clear_line(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.deb"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=message):
        contents(path)
