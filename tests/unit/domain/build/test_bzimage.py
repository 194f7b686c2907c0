"""Kernel files of every packing unpack to their ELF image; damaged ones end in one clear line."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path
from struct import pack

import lz4.block
import pytest
import zstandard
from hypothesis import given, strategies as st

from xenia.domain.build.bzimage import MAX_IMAGE, Packing, load_image, read_kernel_file, unpack
from xenia.errors import ConfigError
from xenia.testing.kernels import bzimage, elf_image

IMAGE = elf_image([(0x1000, b"kernel" * 5000, 0x8000)])


def lz4_legacy(data: bytes, block: int = 8 << 20) -> bytes:
    pieces = [lz4.block.compress(data[at : at + block], store_size=False) for at in range(0, len(data), block)]
    return b"\x02\x21\x4c\x18" + b"".join(pack("<I", len(piece)) + piece for piece in pieces)


PACK: dict[Packing, Callable[[bytes], bytes]] = {
    Packing.GZIP: gzip.compress,
    Packing.BZIP2: bz2.compress,
    Packing.XZ: lambda data: lzma.compress(data, lzma.FORMAT_XZ, lzma.CHECK_CRC32),
    Packing.LZMA: lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    Packing.LZ4: lz4_legacy,
    Packing.ZSTD: lambda data: zstandard.ZstdCompressor(write_content_size=False).compress(data),
}


def packed_bzimage(packing: Packing, data: bytes = IMAGE, size: int | None = None) -> bytes:
    payload = PACK[packing](data)
    if packing is Packing.GZIP:
        return bzimage(payload)
    return bzimage(payload, size=len(data) if size is None else size)


@pytest.mark.parametrize("packing", PACK)
def test_a_bzimage_of_any_packing_unpacks_to_its_elf_image(packing: Packing) -> None:
    file = read_kernel_file(packed_bzimage(packing), "vmlinuz")
    assert (file.container, file.packing, file.size, file.version) == ("bzImage", packing, len(IMAGE), "6.1.0-test")
    assert bytes(unpack(file, "vmlinuz")) == IMAGE


@pytest.mark.parametrize("packing", PACK)
def test_a_packed_elf_file_without_a_bzimage_around_it_unpacks(packing: Packing) -> None:
    file = read_kernel_file(PACK[packing](IMAGE), "vmlinux")
    assert (file.container, file.packing, file.size) == ("ELF", packing, None)
    assert bytes(unpack(file, "vmlinux")) == IMAGE


def test_a_bare_elf_file_passes_through_uncopied() -> None:
    file = read_kernel_file(IMAGE, "vmlinux")
    image = unpack(file, "vmlinux")
    assert isinstance(image, memoryview)
    assert image.obj is IMAGE


def test_lz4_blocks_beyond_the_first_are_taken() -> None:
    data = IMAGE + bytes(9 << 20)
    assert bytes(unpack(read_kernel_file(packed_bzimage(Packing.LZ4, data), "k"), "k")) == data


def test_an_lzo_payload_is_named_as_unsupported() -> None:
    with pytest.raises(ConfigError, match="LZO payloads are not supported"):
        unpack(read_kernel_file(bzimage(b"\x89LZO\0\r\n\x1a\n" + bytes(64), size=1000), "k"), "k")


@pytest.mark.parametrize("packing", [packing for packing in PACK if packing is not Packing.GZIP])
def test_a_payload_larger_than_it_claims_is_refused(packing: Packing) -> None:
    with pytest.raises(ConfigError, match="unpacks to more than"):
        unpack(read_kernel_file(packed_bzimage(packing, size=len(IMAGE) - 1), "k"), "k")


@pytest.mark.parametrize("packing", PACK)
def test_a_truncated_payload_is_refused(packing: Packing) -> None:
    payload = PACK[packing](IMAGE)
    with pytest.raises(ConfigError, match=r"damaged|truncated|more than"):
        unpack(read_kernel_file(bzimage(payload[: len(payload) // 2], size=len(IMAGE)), "k"), "k")


def test_a_claim_of_gigabytes_is_refused_before_unpacking() -> None:
    with pytest.raises(ConfigError, match=f"more than {MAX_IMAGE >> 20} MB"):
        unpack(read_kernel_file(packed_bzimage(Packing.XZ, size=0xFFFF_FFFF), "k"), "k")


def test_a_bomb_without_a_stated_size_stops_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xenia.domain.build.bzimage.MAX_IMAGE", 1 << 20)
    with pytest.raises(ConfigError, match="unpacks to more than"):
        unpack(read_kernel_file(zstandard.compress(bytes(2 << 20)), "k"), "k")


def test_a_payload_that_is_no_elf_image_is_refused() -> None:
    with pytest.raises(ConfigError, match="not an ELF image"):
        unpack(read_kernel_file(packed_bzimage(Packing.GZIP, b"not a kernel"), "k"), "k")


def test_a_payload_of_an_unknown_packing_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown way"):
        read_kernel_file(bzimage(b"?" * 100, size=1), "k")


def test_an_old_boot_protocol_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"boot protocol 2\.06"):
        read_kernel_file(bzimage(gzip.compress(IMAGE), protocol=0x206), "k")


@pytest.mark.parametrize("length", [0x206, 0x24F, 0x600, 2624])
def test_a_truncated_bzimage_is_refused(length: int) -> None:
    with pytest.raises(ConfigError, match="truncated bzImage"):
        read_kernel_file(packed_bzimage(Packing.GZIP)[:length], "k")


def test_a_file_that_is_no_kernel_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"notes\.txt: not a kernel image"):
        read_kernel_file(b"hello", "notes.txt")


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory"):
        load_image(tmp_path / "vmlinuz")


@given(data=st.data(), packing=st.sampled_from([Packing.NONE, *PACK]))
def test_any_damage_unpacks_or_is_a_config_error(data: st.DataObject, packing: Packing) -> None:
    whole = bytearray(IMAGE if packing is Packing.NONE else packed_bzimage(packing))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        unpack(read_kernel_file(bytes(whole[: data.draw(st.integers(0, len(whole)))]), "k"), "k")
    except ConfigError as error:
        assert "\n" not in str(error)
