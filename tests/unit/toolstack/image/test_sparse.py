"""Files with holes, and files larger than the field of an archive that says how large they are."""

from __future__ import annotations

import io
import os
import resource
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import IO, Literal

import pytest

from xenia.errors import ConfigError
from xenia.testing.containers import layer, sparse
from xenia.toolstack.image.oci import ContainerConfig, _measure, _pack, build_container, put_together
from xenia.toolstack.image.sparse import extents

LARGE = 9 << 30
END = b"the end".rjust(512)

pytestmark = pytest.mark.skipif(shutil.which("tar") is None, reason="no tar on this host to unpack with")


class Silent:
    def progress(self, what: str, done: int, total: int) -> None: ...


def plain(path: Path, form: Literal[1, 2], size: int) -> IO[bytes]:
    """A layer with a file of that size which has no map, and a name behind it; on the host it is all holes."""
    member, behind = tarfile.TarInfo("large"), tarfile.TarInfo("behind")
    member.size = size
    head = member.tobuf(form)
    with path.open("wb") as file:
        file.write(head)
        file.seek(size - len(END), os.SEEK_CUR)
        file.write(END + behind.tobuf(form) + bytes(1024))
    return path.open("rb")


def packed(layers: list[IO[bytes]], path: Path, limit: int = 1 << 20) -> Path:
    """The archive that a guest is given of them."""
    with path.open("w+b") as file:
        tree = put_together(layers, "image")
        _pack(tree, file, _measure(tree, limit, "image"), "image", Silent())  # type: ignore[arg-type]
    return path


def check(archive: Path, folder: Path) -> None:
    """GNU's tar unpacks it as a guest does."""
    assert archive.stat().st_blocks < 200
    folder.mkdir()
    subprocess.run(["tar", "-x", "-f", archive, "-C", folder, "--no-same-owner"], check=True)
    status = (folder / "large").stat()
    assert (status.st_size, status.st_blocks < 200) == (LARGE, True)
    with (folder / "large").open("rb") as file:
        assert file.read(10) == bytes(10)
        file.seek(LARGE - len(END))
        assert file.read() == END


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["pax", "base-256"])
def test_a_size_that_the_field_has_no_digits_for_is_read_in_both_forms(tmp_path: Path, form: Literal[1, 2]) -> None:
    with plain(tmp_path / "layer", form, LARGE) as file:
        tree = put_together([file], "image")
        assert tree.root.names is not None and tree.root.names.keys() == {"large", "behind"}
        contents = tree.root.names["large"].contents()
        assert contents is not None and contents.seek(LARGE - len(END)) and contents.read() == END
        file.seek(0)
        check(packed([file], tmp_path / "packed"), tmp_path / "unpacked")


def test_a_map_of_holes_is_kept(tmp_path: Path) -> None:
    made = io.BytesIO(layer(sparse("large", LARGE, {1 << 20: b"x" * 1024, LARGE - len(END): END})))
    archive = packed([made], tmp_path / "packed")
    check(archive, tmp_path / "unpacked")
    with (tmp_path / "unpacked/large").open("rb") as file:
        file.seek((1 << 20) - 1)
        assert file.read(1026) == b"\0" + b"x" * 1024 + b"\0"


def test_a_hole_and_nothing_else_is_a_file(tmp_path: Path) -> None:
    archive = packed([io.BytesIO(layer(sparse("large", LARGE, {})))], tmp_path / "packed")
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-x", "-f", archive, "-C", tmp_path / "out", "--no-same-owner"], check=True)
    assert (tmp_path / "out/large").stat().st_size == LARGE


@pytest.mark.parametrize("parts", [{1024: b"x" * 1024, 512: b"y" * 512}, {0: b"x" * 100, 4096: b"y" * 512}])
def test_a_map_that_readers_understand_differently_is_not_passed_on(parts: dict[int, bytes]) -> None:
    made = io.BytesIO(layer(sparse("file", 8192, parts)))
    names = put_together([made], "image").root.names
    assert names is not None and extents(names["file"]) is None


@pytest.mark.parametrize("parts", [{8192: b"x" * 512}, {0: b"y" * 512, -512: b"x" * 512}])
def test_a_map_that_leads_out_of_the_file_is_damaged(parts: dict[int, bytes]) -> None:
    names = put_together([io.BytesIO(layer(sparse("file", 8192, parts)))], "image").root.names
    assert names is not None
    with pytest.raises(ConfigError, match="damaged: a file's map leads out of it"):
        extents(names["file"])


def test_an_archive_that_ends_in_the_data_is_told_as_damaged(tmp_path: Path) -> None:
    whole = layer(sparse("file", 1 << 20, {0: b"x" * 8192}))
    cut = whole.index(b"x" * 8192) + 4096
    made = io.BytesIO(whole)
    tree = put_together([made], "image")
    made.truncate(cut)
    packed = _measure(tree, 1 << 20, "image.tar")
    why = "^image.tar: damaged: a layer ends in the middle of a file$"
    with pytest.raises(ConfigError, match=why), (tmp_path / "packed").open("w+b") as file:
        _pack(tree, file, packed, "image.tar", Silent())  # type: ignore[arg-type]


def test_what_the_map_of_a_file_says_wrong_names_the_archive() -> None:
    tree = put_together([io.BytesIO(layer(sparse("file", 8192, {8192: b"x" * 512})))], "image.tar")
    with pytest.raises(ConfigError, match=r"^image.tar: damaged: a file's map leads out of it$"):
        _measure(tree, 1 << 20, "image.tar")


def test_a_file_that_no_file_system_holds_is_told_before_anything_is_packed() -> None:
    tree = put_together([io.BytesIO(layer(sparse("file", 1 << 60, {0: b"x" * 512})))], "image.tar")
    with pytest.raises(ConfigError, match=r"^image.tar: a layer has a file that no disk holds: file of 1048576T$"):
        _measure(tree, 1 << 20, "image.tar")


@pytest.mark.parametrize(
    ("output", "size", "why"),
    [
        ("root.img", 15 << 40, "root.img"), ("nowhere/root.img", None, "cannot write nowhere/root.img: No such file"),
        ("nowhere/root.img", 1 << 30, "cannot write nowhere/root.img: No such file"),
    ],
)  # fmt: skip
def test_a_disk_that_cannot_be_made_is_told_before_the_archive_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, size: int | None, why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 40, hard))
    try:
        with pytest.raises(ConfigError, match=why):
            build_container(
                ContainerConfig(archive=Path("none.tar"), output=output, size=size),
                Silent(),  # type: ignore[arg-type]
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert not list(tmp_path.iterdir())


def test_a_size_that_no_file_system_has_is_no_size() -> None:
    with pytest.raises(ConfigError, match="a disk of 17T: there is 16T at the most"):
        ContainerConfig(archive=Path("none.tar"), output="root.img", size=17 << 40)


def test_what_is_counted_is_what_there_is_of_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give the disk more"):
        packed([io.BytesIO(layer(sparse("file", LARGE, {0: b"x" * 8192})))], tmp_path / "packed", limit=4096)
