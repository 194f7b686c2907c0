"""qcow2 images of ours and of QEMU's."""

import json
import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.storage_model import Disk, pattern
from xenia.errors import ConfigError
from xenia.storage.cow import open_overlay
from xenia.storage.file import open_file
from xenia.storage.qcow2.create import create_image
from xenia.storage.qcow2.header import read_header
from xenia.storage.qcow2.open import open_image_file
from xenia.storage.qcow2.snapshots import read_snapshots
from xenia.storage.stack import create_stack, open_stack

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed (qemu-utils)"),
]
SIZE = 3 << 20


def qemu_img(*arguments: str | Path) -> str:
    done = subprocess.run(["qemu-img", *map(str, arguments)], capture_output=True, text=True)
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout


def check(path: Path) -> None:
    """QEMU finds neither errors nor lost clusters."""
    report = json.loads(qemu_img("check", "--output=json", path))
    assert report["check-errors"] == 0 and not report.get("leaks") and not report.get("corruptions")


def contents(path: Path, *options: str) -> bytes:
    """What QEMU reads."""
    raw = path.with_suffix(".raw")
    qemu_img("convert", *options, "-O", "raw", path, raw)
    return raw.read_bytes()


def work(disk: Disk, seed: int, steps: int = 50) -> None:
    """Random requests."""
    chance = random.Random(seed)
    for _ in range(steps):
        offset, length = disk.span(chance.randrange(SIZE), chance.choice((100, 512, 4096, 65536, 300_000)))
        match chance.randrange(6):
            case 0:
                disk.layer.write_zeroes(offset, length)
                disk.model[offset : offset + length] = bytes(length)
            case 1:
                disk.layer.discard(offset, length)
                disk.settle_discard(offset, length)
            case 2:
                disk.layer.flush()
            case _:
                data = pattern(chance.randrange(1000), length)
                disk.layer.pwrite(data, offset)
                disk.model[offset : offset + length] = data


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"version": 2, "compression": "zlib"},
        {"cluster_bits": 9, "refcount_order": 6},
        {"cluster_bits": 12, "refcount_order": 0},
        {"cluster_bits": 21, "compression": "zlib"},
    ],
    ids=["plain", "version 2", "small clusters, wide counts", "counts of one bit", "large clusters"],
)
@pytest.mark.parametrize("compress", [False, True])
def test_qemu_reads_what_we_write(options: dict[str, Any], compress: bool, tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    create_stack(f"file:{path}", 0)
    with open_file(path) as container:
        create_image(container, SIZE, **options)
    model = None
    for seed in range(3):
        disk = Disk(lambda: open_image_file(path, compress=compress), model)
        work(disk, seed)
        disk.check()
        disk.layer.close()
        model = disk.model
        check(path)
        assert contents(path) == bytes(model)


@pytest.mark.parametrize(
    "options",
    [
        "compat=v3", "compat=0.10", "cluster_size=512", "compat=v3,refcount_bits=64,cluster_size=2M",
        "compat=v3,refcount_bits=1,cluster_size=4k", "preallocation=metadata", "lazy_refcounts=on",
    ],
)  # fmt: skip
def test_we_write_to_what_qemu_makes(options: str, tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    qemu_img("create", "-f", "qcow2", "-o", options, path, str(SIZE))
    disk = Disk(lambda: open_image_file(path))
    work(disk, 5)
    disk.check()
    disk.layer.close()
    check(path)
    assert contents(path) == bytes(disk.model)


@pytest.mark.parametrize("compression", ["zlib", "zstd"])
def test_we_read_and_overwrite_what_qemu_compressed(compression: str, tmp_path: Path) -> None:
    raw, path = tmp_path / "in", tmp_path / "disk.qcow2"
    data = b"".join(pattern(number, 100_000) for number in range(31))[:SIZE]
    raw.write_bytes(data.ljust(SIZE, b"\0"))
    qemu_img("convert", "-c", "-O", "qcow2", "-o", f"compression_type={compression}", raw, path)
    disk = Disk(lambda: open_image_file(path), bytearray(raw.read_bytes()))
    disk.check()
    work(disk, 6)
    disk.check()
    disk.layer.close()
    check(path)
    assert contents(path) == bytes(disk.model)


def test_a_chain_of_images_is_read_through_and_written_at_its_top(tmp_path: Path) -> None:
    base, middle, top = tmp_path / "base", tmp_path / "middle.qcow2", tmp_path / "top.qcow2"
    base.write_bytes(pattern(1, SIZE - 70_000))  # shorter than what stands on it
    qemu_img("create", "-f", "qcow2", "-b", "base", "-F", "raw", middle, str(SIZE))
    with open_image_file(middle) as layer:
        layer.pwrite(b"middle" * 1000, 200_000)
    create_stack(f"qcow2:{top}:base=middle.qcow2:cluster=4K", None)
    disk = Disk(lambda: open_image_file(top))
    assert disk.model[200_000:200_006] == b"middle" and disk.model[SIZE - 70_000 :] == bytes(70_000)
    before = middle.read_bytes()
    work(disk, 7)
    disk.layer.close()
    check(top)
    assert contents(top) == bytes(disk.model)
    assert middle.read_bytes() == before


def test_snapshots_that_qemu_made_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    qemu_img("create", "-f", "qcow2", "-o", "cluster_size=4k", path, str(SIZE))
    states: dict[str, bytes] = {}
    model = None
    for number, name in enumerate(("first", "second")):
        disk = Disk(lambda: open_image_file(path), model)
        work(disk, number)
        disk.layer.close()
        model = disk.model
        states[name] = bytes(model)
        qemu_img("snapshot", "-c", name, path)
    disk = Disk(lambda: open_image_file(path), model)
    work(disk, 9)
    disk.check()
    disk.layer.close()
    check(path)
    with open_file(path, read_only=True) as container:
        found, _ = read_snapshots(container, read_header(container, "it"))
    assert [one.name for one in found] == ["first", "second"]
    assert contents(path) == bytes(disk.model)
    for name, state in states.items():
        assert contents(path, "-l", name) == state
    qemu_img("snapshot", "-a", "first", path)
    with open_image_file(path) as layer:
        assert layer.pread(0, SIZE) == states["first"]


def test_a_larger_image_is_one_for_qemu_too(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    create_stack(f"qcow2:{path}:cluster=512", SIZE)
    with open_image_file(path) as layer:
        layer.pwrite(b"end", SIZE - 3)
        sizes: list[int] = []
        layer.watch(sizes.append)
        layer.resize(40 * SIZE)
        layer.pwrite(b"more", 39 * SIZE)
        assert sizes == [40 * SIZE]
    check(path)
    data = contents(path)
    assert len(data) == 40 * SIZE and data[SIZE - 3 : SIZE] == b"end" and data[39 * SIZE : 39 * SIZE + 4] == b"more"


def test_an_overlay_is_an_image_that_qemu_finds_sound(tmp_path: Path) -> None:
    base, overlay = tmp_path / "base", tmp_path / "overlay.qcow2"
    base.write_bytes(pattern(4, SIZE))
    disk = Disk(lambda: open_overlay(open_file(base, True), overlay))
    work(disk, 11)
    disk.check()
    disk.layer.close()
    check(overlay)
    assert base.read_bytes() == pattern(4, SIZE)


def test_an_image_in_an_encrypted_file_comes_out_as_qemu_wrote_it(tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="needs the Python package cryptography")
    (tmp_path / "key").write_bytes(os.urandom(64))
    image, data = tmp_path / "plain.qcow2", os.urandom(1 << 20)
    (tmp_path / "in").write_bytes(data)
    qemu_img("convert", "-O", "qcow2", tmp_path / "in", image)
    crypt = f"file:{tmp_path}/disk,crypt:key=@{tmp_path}/key:plain"
    create_stack(crypt, 2 << 20)
    with open_stack(crypt) as layer:
        layer.pwrite(image.read_bytes(), 0)
    with open_stack(f"{crypt},qcow2") as layer:
        assert layer.pread(0, 1 << 20) == data


def test_a_backing_file_without_a_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "base").write_bytes(bytes(SIZE))
    path = tmp_path / "disk.qcow2"
    qemu_img("create", "-f", "qcow2", "-b", "base", "-F", "raw", path)
    with path.open("r+b") as file:
        header = bytearray(file.read(4096))
        at = header.find(b"\xe2\x79\x2a\xca")
        header[at : at + 4] = b"\x12\x34\x56\x78"  # an extension that nobody knows
        file.seek(0)
        file.write(header)
    with pytest.raises(ConfigError, match="does not say what format"):
        open_image_file(path)
