"""Container images as others save them, whole, damaged and evil."""

from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import zstandard

from xenia.errors import ConfigError
from xenia.testing.containers import archive, configuration, digest, docker_archive, file, layer, oci_layout, symlink
from xenia.toolstack.image.oci import put_together
from xenia.toolstack.image.oci_archive import opened, read_image, unpacked_layers
from xenia.toolstack.provision.cache import Cache, no_progress

LAYERS = [layer(file("a", b"one"), file("b", b"two")), layer(file("a", b"new"), file(".wh.b"))]
LIMIT = 1 << 20


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    found = Cache(tmp_path / "cache")
    found.path("made")
    return found


def files_of(path: Path, cache: Cache, tag: str | None = None, limit: int = LIMIT) -> dict[str, bytes]:
    """The regular files of an image, by path."""
    with opened(path, cache, no_progress, limit) as source:
        image = read_image(source, "image", tag)
        with unpacked_layers(image, source, "image", limit, cache, no_progress) as layers:
            tree = put_together(layers, "image")
            return {name: data.read() for name, inode in tree.paths() if (data := inode.contents()) is not None}


def write(directory: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(data)
    return directory


def save(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "image.tar"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("packing", ["gzip", "zstd", ""])
def test_a_layout_is_read_in_a_folder_and_in_an_archive(tmp_path: Path, cache: Cache, packing: str) -> None:
    files = oci_layout(LAYERS, packing)
    assert files_of(write(tmp_path / "layout", files), cache) == {"a": b"new"}
    assert files_of(save(tmp_path, archive(files)), cache) == {"a": b"new"}


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
def test_a_docker_archive_is_read_packed_or_not(tmp_path: Path, cache: Cache, pack: type[bytes]) -> None:
    assert files_of(save(tmp_path, pack(archive(docker_archive(LAYERS)))), cache) == {"a": b"new"}


def test_a_layer_that_is_saved_as_a_link_to_the_same_one_is_found(tmp_path: Path, cache: Cache) -> None:
    files = docker_archive([LAYERS[0], LAYERS[0]])
    del files["1/layer.tar"]
    members = [file(name, data) for name, data in files.items()]
    assert files_of(save(tmp_path, layer(*members, symlink("1/layer.tar", "../0/layer.tar"))), cache)["b"] == b"two"


def test_of_several_images_one_is_named(tmp_path: Path, cache: Cache) -> None:
    one, other = (docker_archive([one], tag) for one, tag in ((LAYERS[0], "docker.io/library/x:1"), (LAYERS[1], "y:2")))
    other["other.tar"] = other.pop("0/layer.tar")
    manifests = [json.loads(files["manifest.json"])[0] for files in (one, other)]
    manifests[1]["Layers"] = ["other.tar"]
    path = save(tmp_path, archive({**one, **other, "manifest.json": json.dumps(manifests).encode()}))
    for name in ("docker.io/library/x:1", "x:1", "1"):
        assert files_of(path, cache, name) == {"a": b"one", "b": b"two"}
    with pytest.raises(ConfigError, match=r"several images: docker\.io/library/x:1, y:2; say which one with --tag"):
        files_of(path, cache)
    with pytest.raises(ConfigError, match="no image 'z' in it; there are"):
        files_of(path, cache, "z")


def test_another_platforms_image_is_not_taken(tmp_path: Path, cache: Cache) -> None:
    config = json.dumps({**json.loads(configuration(LAYERS)), "architecture": "arm64"}).encode()
    for files in (oci_layout(LAYERS, config=config), docker_archive(LAYERS, config=config)):
        with pytest.raises(ConfigError, match="no image for linux/amd64 in it"):
            files_of(save(tmp_path, archive(files)), cache)


@pytest.mark.parametrize("part", ["config", "manifest", "layer"])
def test_a_changed_part_is_noticed_by_its_digest(tmp_path: Path, cache: Cache, part: str) -> None:
    files = oci_layout(LAYERS, "")
    mark = {"config": b"diff_ids", "manifest": b"schemaVersion", "layer": b"one"}[part]
    (name,) = (name for name, data in files.items() if mark in data and name.startswith("blobs"))
    files[name] = files[name].replace(mark, mark[::-1])
    with pytest.raises(ConfigError, match="damaged"):
        files_of(save(tmp_path, archive(files)), cache)


def test_a_layer_of_a_docker_archive_is_checked_against_the_configuration(tmp_path: Path, cache: Cache) -> None:
    files = docker_archive(LAYERS)
    files["0/layer.tar"] = layer(file("a", b"evil"))
    with pytest.raises(ConfigError, match="layer 1: damaged: it unpacks to something else"):
        files_of(save(tmp_path, archive(files)), cache)


def test_a_missing_layer_is_named(tmp_path: Path, cache: Cache) -> None:
    files = docker_archive(LAYERS)
    del files["1/layer.tar"]
    with pytest.raises(ConfigError, match=r"layer 2 is not in it \(1/layer\.tar\)"):
        files_of(save(tmp_path, archive(files)), cache)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_bomb_is_put_out(tmp_path: Path, cache: Cache, pack: type[bytes]) -> None:
    bomb = layer(file("zeroes", bytes(LIMIT)))
    packed = pack(bomb)
    files = docker_archive([packed], config=configuration([bomb]))
    with pytest.raises(ConfigError, match="more than 1M comes out of it"):
        files_of(save(tmp_path, archive(files)), cache)
    with pytest.raises(ConfigError, match="more than 1M comes out of it"):
        files_of(save(tmp_path, pack(archive(docker_archive([bomb])))), cache)


def test_layers_may_not_have_more_than_the_limit_together(tmp_path: Path, cache: Cache) -> None:
    half = layer(file("zeroes", bytes(LIMIT // 2)))
    with pytest.raises(ConfigError, match="layer 2 of 2: more than 0M"):
        files_of(save(tmp_path, archive(docker_archive([half, half]))), cache)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_header_that_would_fill_the_memory_is_refused(tmp_path: Path, cache: Cache, kind: bytes) -> None:
    header = tarfile.TarInfo("evil")
    header.type, header.size = kind, 1 << 40
    evil = header.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    with pytest.raises(ConfigError, match="layer 1: damaged, or no archive at all"):
        files_of(save(tmp_path, archive(docker_archive([evil]))), cache)


def backwards(size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A file of less than nothing, which leads back to before its header."""
    header = tarfile.TarInfo("evil")
    header.type = kind
    return header.tobuf(tarfile.GNU_FORMAT)[:124] + size.to_bytes(12, "big", signed=True)


def with_checksum(header: bytes) -> bytes:
    whole = bytearray(header.ljust(512, b"\0"))
    whole[148:156] = b" " * 8
    whole[148:156] = f"{sum(whole):06o}\0 ".encode()
    return bytes(whole)


@pytest.mark.parametrize("size", [-512, -(1 << 50)])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE])
def test_a_file_of_less_than_nothing_is_refused(tmp_path: Path, cache: Cache, size: int, kind: bytes) -> None:
    evil = with_checksum(backwards(size, kind)) + bytes(1024)
    with pytest.raises(ConfigError, match="layer 1: damaged"):
        files_of(save(tmp_path, archive(docker_archive([evil]))), cache)
    with pytest.raises(ConfigError, match=r"neither an archive nor a layout|no container image"):
        files_of(save(tmp_path, archive({"a": b""})[:512] + evil), cache)


def test_what_is_said_of_all_files_is_not_kept_by_each(tmp_path: Path, cache: Cache) -> None:
    said = b"".join(b"8 k%02d=v\n" % number for number in range(99))
    header = tarfile.TarInfo("global")
    header.type, header.size = tarfile.XGLTYPE, len(said)
    evil = header.tobuf(tarfile.USTAR_FORMAT) + said.ljust(1024, b"\0") + layer(file("a"))
    with pytest.raises(ConfigError, match="layer 1: damaged"):
        files_of(save(tmp_path, archive(docker_archive([evil]))), cache)


def test_one_configuration_that_is_named_over_and_over_ends(tmp_path: Path, cache: Cache) -> None:
    files = oci_layout(LAYERS, "")
    index = json.loads(files["index.json"])
    large = json.dumps({"manifests": [], "said": "x" * (1 << 20)}).encode()
    files[f"blobs/sha256/{digest(large)[7:]}"] = large
    files["index.json"] = json.dumps({**index, "manifests": [{"digest": digest(large)}] * 1000}).encode()
    with pytest.raises(ConfigError, match="more manifests and configurations than images need"):
        files_of(write(tmp_path / "layout", files), cache)


def test_headers_of_headers_end(tmp_path: Path, cache: Cache) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2
    evil = (header.tobuf(tarfile.GNU_FORMAT) + b"a\0".ljust(512, b"\0")) * 5000
    with pytest.raises(ConfigError, match="layer 1: damaged"):
        files_of(save(tmp_path, archive(docker_archive([evil], config=configuration([evil])))), cache, limit=8 << 20)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "blobs/sha256/../../../etc/passwd"])
def test_a_layer_whose_name_leads_out_is_not_there(tmp_path: Path, cache: Cache, name: str) -> None:
    files = docker_archive(LAYERS[:1])
    manifest = json.loads(files["manifest.json"])
    manifest[0]["Layers"] = [name]
    files["manifest.json"] = json.dumps(manifest).encode()
    with pytest.raises(ConfigError, match="layer 1 is not in it"):
        files_of(save(tmp_path, archive(files)), cache)
    with pytest.raises(ConfigError, match="layer 1 is not in it"):
        files_of(write(tmp_path / "folder", files), cache)


def test_a_layouts_blob_that_is_a_link_is_not_there(tmp_path: Path, cache: Cache) -> None:
    folder = write(tmp_path / "layout", oci_layout(LAYERS, ""))
    blob = folder / "blobs" / "sha256" / digest(LAYERS[0])[7:]
    blob.rename(tmp_path / "elsewhere")
    blob.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="layer 1 is not in it"):
        files_of(folder, cache)


@pytest.mark.parametrize(
    "index",
    [
        b"", b"[]", b"{}", b'{"manifests": [1]}', b'{"manifests": [{}]}', b'{"manifests": [{"digest": "sha256:../x"}]}',
        b'{"manifests": [{"digest": "md5:00"}]}', b"[" * 100_000, b"\xff", b'{"manifests": null}',
    ],
)  # fmt: skip
def test_an_index_that_is_none_is_refused(tmp_path: Path, cache: Cache, index: bytes) -> None:
    with pytest.raises(ConfigError, match="image: damaged"):
        files_of(write(tmp_path / "layout", {**oci_layout(LAYERS), "index.json": index}), cache)


def test_an_index_of_itself_ends(tmp_path: Path, cache: Cache) -> None:
    inner = json.dumps({"manifests": []}).encode()
    files = {}
    for _ in range(8):
        files[f"blobs/sha256/{digest(inner)[7:]}"] = inner
        inner = json.dumps({"manifests": [{"digest": digest(inner)}]}).encode()
    with pytest.raises(ConfigError, match="indexes of indexes"):
        files_of(write(tmp_path / "layout", {**files, "index.json": inner}), cache)


@pytest.mark.parametrize(
    "data", [b"", b"text", gzip.compress(b"text", mtime=0), bytes(10240), b"\x1f\x8b", b"\x28\xb5\x2f\xfd"]
)
def test_what_is_no_archive_is_refused(tmp_path: Path, cache: Cache, data: bytes) -> None:
    with pytest.raises(ConfigError, match=r"neither an archive nor a layout|no container image"):
        files_of(save(tmp_path, data), cache)
    with pytest.raises(ConfigError, match="No such file"):
        files_of(tmp_path / "gone", cache)
