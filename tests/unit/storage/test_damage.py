"""Images that are damaged, or made to do harm: a refusal, or errors, and nothing else."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xenia.errors import ConfigError
from xenia.storage.cow import open_overlay
from xenia.storage.layer import Layer
from xenia.storage.luks2 import HEADER_SIZE, MAGIC_1, MAGIC_2, Cost, format_luks, pack, read_metadata, unlock
from xenia.storage.memory import Memory
from xenia.storage.qcow2.check import check_image
from xenia.storage.qcow2.create import create_image
from xenia.storage.qcow2.header import read_header
from xenia.storage.qcow2.image import Qcow2
from xenia.storage.qcow2.open import open_image, open_image_file
from xenia.storage.stack import create_stack, open_stack
from xenia.toolstack.disks.disk import convert

SIZE = 256 * 1024


def image() -> bytes:
    """A small image with plain, compressed and zero clusters."""
    container = Memory(0)
    header = create_image(container, SIZE, cluster_bits=9)
    disk = Qcow2(container, header, compress=True)
    disk.pwrite(b"compresses well " * 640, 0)
    disk.write_zeroes(4096, 4096)
    disk.flush()
    plain = Qcow2(container, read_header(container, "it"))
    plain.pwrite(random.Random(1).randbytes(8192), 100_000)
    plain.flush()
    return bytes(container.pread(0, container.size))


def use(disk: Layer, chance: random.Random) -> None:
    """Requests like a guest's, any of which may fail."""
    for _ in range(8):
        offset = chance.randrange(disk.size // 512 or 1) * 512
        length = min(4096, disk.size - offset)
        try:
            match chance.randrange(4):
                case 0:
                    disk.pwrite(bytes(length), offset)
                case 1:
                    disk.discard(offset, length)
                case 2:
                    disk.flush()
                case _:
                    disk.pread(offset, length)
        except OSError:
            pass


@pytest.mark.parametrize("seed", range(150))
def test_an_image_with_wrong_bytes_ends_in_nothing_worse_than_errors(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    data = bytearray(image())
    for _ in range(chance.choice((1, 3, 20))):
        # Mostly in the header and the tables, which are at the beginning.
        at = chance.randrange(chance.choice((112, 4096, len(data))))
        data[at] = chance.choice((0, 0xFF, chance.randrange(256), data[at] ^ 1 << chance.randrange(8)))
    disk = Memory(len(data))
    disk.pwrite(data, 0)
    try:
        header = read_header(disk, "it")
        check_image(disk, header, repair=chance.random() < 0.3)
        opened = open_image(disk, "it", tmp_path)
    except (ConfigError, OSError):
        return
    use(opened, chance)
    assert disk.size < 1 << 30


@pytest.mark.parametrize("length", [0, 1, 71, 72, 104, 511, 512, 2000])
def test_an_image_that_is_cut_off_ends_in_nothing_worse_than_errors(length: int, tmp_path: Path) -> None:
    disk = Memory(length)
    disk.pwrite(image()[:length], 0)
    try:
        use(open_image(disk, "it", tmp_path), random.Random(length))
    except ConfigError:
        return


def test_images_that_stand_on_each_other_are_refused(tmp_path: Path) -> None:
    first, second = tmp_path / "first.qcow2", tmp_path / "second.qcow2"
    create_stack(f"qcow2:{first}", SIZE)
    create_stack(f"qcow2:{second}:base=first.qcow2", None)
    first.unlink()
    with pytest.raises(ConfigError, match="which is based on it"):
        create_stack(f"qcow2:{first}:base=second.qcow2", SIZE)
    create_stack(f"qcow2:{first}", SIZE)
    create_stack(f"qcow2:{tmp_path / 'third.qcow2'}:base=second.qcow2", SIZE)
    (tmp_path / "third.qcow2").rename(first)
    with pytest.raises(ConfigError, match="which is based on it"):
        open_image_file(first, read_only=True)


def test_a_backing_that_is_no_file_is_refused(tmp_path: Path) -> None:
    disk = Memory(0)
    create_image(disk, SIZE, backing_file='json:{"driver": "nbd"}', backing_format="raw")
    with pytest.raises(ConfigError, match="which is not a file"):
        open_image(disk, "it", tmp_path)


def test_an_overlay_of_another_disk_is_refused(tmp_path: Path) -> None:
    overlay = open_overlay(Memory(SIZE), tmp_path / "overlay")
    overlay.close()
    with pytest.raises(ConfigError, match="belongs to a disk of"):
        open_overlay(Memory(2 * SIZE), tmp_path / "overlay")


def test_headers_of_encrypted_disks_with_wrong_bytes_are_refused() -> None:
    pytest.importorskip("cryptography", reason="needs the Python package cryptography")
    disk = Memory(17 << 20)
    format_luks(disk, b"key", cost=Cost(1000, 0))
    good = bytes(disk.pread(0, 32768))
    assert unlock(disk, b"key", "it").sector_size == 4096
    with pytest.raises(ConfigError, match="no keyslot"):
        unlock(disk, b"wrong", "it")
    disk.pwrite(bytes(4096), 0)
    assert unlock(disk, b"key", "it").sector_size == 4096  # from the second copy
    for seed in range(40):
        chance = random.Random(seed)
        data = bytearray(good)
        for copy in (0, 16384):
            data[copy + chance.randrange(5000)] ^= 1 << chance.randrange(8)
        disk.pwrite(data, 0)
        try:
            unlock(disk, b"key", "it")
        except ConfigError:
            continue


def relabelled(change: Callable[[dict[str, Any]], object], cost: Cost | None = None) -> Memory:
    """An encrypted disk whose header somebody has changed, checksums and all."""
    pytest.importorskip("cryptography", reason="needs the Python package cryptography")
    disk = Memory(17 << 20)
    format_luks(disk, b"key", cost=cost or Cost(1000, 0, digest=1000))
    metadata = read_metadata(disk, "it")
    change(metadata)
    text = json.dumps(metadata).encode()
    for offset, magic in ((0, MAGIC_1), (HEADER_SIZE, MAGIC_2)):
        disk.pwrite(pack(magic, offset, b"it", text), offset)
    return disk


def keyslot(**fields: object) -> Callable[[dict[str, Any]], object]:
    return lambda metadata: metadata["keyslots"]["0"].update(fields)


def kdf(**fields: object) -> Callable[[dict[str, Any]], object]:
    return lambda metadata: metadata["keyslots"]["0"]["kdf"].update(fields)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (kdf(iterations=2_000_000_000), r"would take 33 minutes or more \(2000000000 iterations of PBKDF2\)"),
        (kdf(iterations=1 << 80), "minutes or more"),
        (kdf(iterations=-1), "makes no sense"),
        (kdf(type="argon2id", time=1000, memory=1 << 20, cpus=4), r"1000 passes of argon2id over 1024 MiB"),
        (kdf(type="argon2id", time=1, memory=8 << 20, cpus=4), "8 GiB of memory"),
        (kdf(type="argon2id", time=1, memory=64, cpus=1 << 40), "makes no sense"),
        (kdf(hash="sm3000"), "the hash sm3000 cannot be used here"),
        (kdf(type="scrypt"), "scrypt as the maker of keys"),
        (keyslot(key_size=float("inf")), "makes no sense"),
        (keyslot(af={"type": "luks1", "stripes": 4000, "hash": "whirl"}), "the hash whirl cannot be used here"),
        (lambda m: m["digests"]["0"].update(iterations=1 << 40), "iterations of PBKDF2"),
        (lambda m: m["digests"]["0"].update(hash="whirl"), "the hash whirl cannot be used here"),
        (lambda m: m["keyslots"].update({str(n): {} for n in range(1, 40)}), "at most 32 keyslots"),
        (
            lambda m: m["keyslots"].update(
                {str(n): {**m["keyslots"]["0"], "kdf": {**m["keyslots"]["0"]["kdf"], "iterations": 99_000_000}}
                 for n in range(1, 9)}) or m["keyslots"]["0"]["kdf"].update(iterations=2_000_000),
            "minutes or more",
        ),
        (lambda m: m["segments"]["0"].update(integrity={"type": "hmac(sha256)"}), r"integrity data \(hmac\(sha256\)\)"),
        (lambda m: m["segments"]["0"].update(type="hw-opal"), "of the type hw-opal"),
        (lambda m: m["config"].update(requirements={"mandatory": ["online-reencrypt"]}), "online-reencrypt"),
        (lambda m: m["segments"]["0"].update(size="-4096"), "makes no sense"),
        (lambda m: m["segments"]["0"].update(iv_tweak=str(1 << 70)), "makes no sense"),
    ],
)  # fmt: skip
def test_an_encrypted_disk_whose_header_asks_for_too_much_or_for_what_is_unknown_is_refused_at_once(
    change: Callable[[dict[str, Any]], object], complaint: str
) -> None:
    disk = relabelled(change)
    with pytest.raises(ConfigError, match=complaint):
        unlock(disk, b"key", "it")


def test_a_header_that_is_nested_without_end_is_no_header() -> None:
    disk = Memory(17 << 20)
    for offset, magic in ((0, MAGIC_1), (HEADER_SIZE, MAGIC_2)):
        disk.pwrite(pack(magic, offset, b"it", b"[" * 12000), offset)
    with pytest.raises(ConfigError, match="has no LUKS2 header that can be read"):
        unlock(disk, b"key", "it")


def test_an_image_is_based_on_files_in_its_folder_unless_that_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "images" / "below").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"secret".ljust(4096))
    (tmp_path / "images" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "images" / "below" / "base").write_bytes(b"public".ljust(4096))
    image = tmp_path / "images" / "image"
    for name in (str(tmp_path / "secret"), "../secret", "below/../../secret", "link"):
        with pytest.raises(ConfigError, match=r"which is not in its folder: .* qcow2:PATH:any-base"):
            create_stack(f"qcow2:{image}:base={name}", None)
        assert not image.exists()
        create_stack(f"qcow2:{image}:any-base:base={name}", None)
        for text in (f"qcow2:{image}", f"qcow2:{image},cow", f"file:{image},qcow2"):
            with pytest.raises(ConfigError, match="is not in its folder"):
                open_stack(text)
        with open_stack(f"qcow2:{image}:any-base") as disk:
            assert disk.pread(0, 6) == b"secret"
        image.unlink()
    create_stack(f"qcow2:{image}:base=below/base", None)
    with open_stack(f"qcow2:{image}") as disk:
        assert disk.pread(0, 6) == b"public"


def test_an_image_below_an_image_stays_in_the_folder_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "secret").write_bytes(bytes(4096))
    create_stack(f"qcow2:{tmp_path}/a/base:any-base:base=../secret", None)
    create_stack(f"qcow2:{tmp_path}/a/image:any-base:base=base", None)
    with pytest.raises(ConfigError, match=r"a/base is based on .* not in its folder"):
        open_stack(f"qcow2:{tmp_path}/a/image")


@pytest.mark.parametrize("words", ["", ":any-base"])
def test_a_copy_can_refuse_images_that_are_based_on_others(words: str, tmp_path: Path) -> None:
    (tmp_path / "base").write_bytes(bytes(4096))
    create_stack(f"qcow2:{tmp_path}/image:base=base", None)
    with pytest.raises(ConfigError, match="is not to be based on anything"):
        convert(f"qcow2:{tmp_path}/image{words}", f"file:{tmp_path}/copy", backing=False)
    assert not (tmp_path / "copy").exists()
    assert convert(f"qcow2:{tmp_path}/image{words}", f"file:{tmp_path}/copy") == 0
