"""Images of few bytes that would have one do a great deal: the work is bounded by what is really stored."""

import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from xenia.errors import ConfigError
from xenia.storage.file import create_file, open_file
from xenia.storage.memory import Memory
from xenia.storage.qcow2.check import check_image
from xenia.storage.qcow2.compression import COMPRESSED, Codec
from xenia.storage.qcow2.header import ZSTD, read_header
from xenia.storage.qcow2.open import open_image_file
from xenia.storage.qcow2.snapshots import read_snapshots

CLUSTER = 1 << 16
SIZE = 1 << 30
DIRTY = 1


def big_endian(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}Q", *numbers)


def header(
    l1: tuple[int, int], table: tuple[int, int], *, size: int = SIZE, incompatible: int = 0,
    snapshots: tuple[int, int] = (0, 0), cluster_bits: int = 16, order: int = 4,
) -> bytes:  # fmt: skip
    """An image's header; tables by offset and length."""
    first = struct.pack(
        ">IIQIIQIIQQIIQ", 0x514649FB, 3, 0, 0, cluster_bits, size, 0, l1[1], l1[0], *table, snapshots[1], snapshots[0]
    )
    return first + struct.pack(">QQQII", incompatible, 0, 0, order, 104)


def one_block_many_times(path: Path, incompatible: int = 0) -> None:
    """A refcount table with a million names for one full block."""
    with path.open("wb") as file:
        file.truncate(132 * CLUSTER)
        file.write(header((CLUSTER, 2), (4 * CLUSTER, 128), incompatible=incompatible))
        file.seek(3 * CLUSTER)
        file.write(b"\0\1" * (CLUSTER // 2))
        file.seek(4 * CLUSTER)
        file.write(big_endian(3 * CLUSTER) * (128 * CLUSTER // 8))


def one_l2_many_times(path: Path, incompatible: int = 0) -> None:
    """An L1 table with a quarter of a million names for one full L2 table."""
    entries = 1 << 18
    with path.open("wb") as file:
        file.write(header((4 * CLUSTER, entries), (CLUSTER, 1), size=entries << 29, incompatible=incompatible))
        file.seek(CLUSTER)
        file.write(big_endian(2 * CLUSTER))
        file.seek(3 * CLUSTER)
        file.write(big_endian(*(5 * CLUSTER for _ in range(CLUSTER // 8))))
        file.seek(4 * CLUSTER)
        file.write(big_endian(3 * CLUSTER) * entries)


def one_l1_many_times(path: Path, incompatible: int = 0) -> None:
    """65536 snapshots of one L1 table, which names different L2 tables."""
    entries = 1 << 13
    with path.open("wb") as file:
        file.write(header((4 * CLUSTER, 2), (CLUSTER, 1), snapshots=(8 * CLUSTER, 65536), incompatible=incompatible))
        file.seek(CLUSTER)
        file.write(big_endian(2 * CLUSTER))
        file.seek(6 * CLUSTER)
        file.write(big_endian(*((100 + index) * CLUSTER for index in range(entries))))
        file.seek(8 * CLUSTER)
        file.write(struct.pack(">QIHHIIQII", 6 * CLUSTER, entries, 0, 0, 0, 0, 0, 0, 0) * 65536)
        file.truncate((101 + entries) * CLUSTER)


def sparse_l1s(path: Path, incompatible: int = 0) -> None:
    """65536 snapshots with the longest L1 tables, all holes."""
    with path.open("wb") as file:
        file.write(header((4 * 512, 2), (512, 1), cluster_bits=9, size=32768, snapshots=(65536, 65536),
                          incompatible=incompatible))  # fmt: skip
        file.seek(65536)
        for index in range(65536):
            file.write(struct.pack(">QIHHIIQII", (1 << 24) + (index << 25), 1 << 22, 0, 0, 0, 0, 0, 0, 0))
        file.truncate(1 << 42)


def full_blocks_of_single_bits(path: Path, incompatible: int = 0) -> None:
    """Blocks that count, with a bit for each, millions of clusters that nobody uses."""
    with path.open("wb") as file:
        file.write(header((CLUSTER, 2), (2 * CLUSTER, 1), order=0, incompatible=incompatible))
        file.seek(2 * CLUSTER)
        file.write(big_endian(*((3 + index) * CLUSTER for index in range(128))))
        file.seek(3 * CLUSTER)
        file.write(b"\xff" * (128 * CLUSTER))


BOMBS = [one_block_many_times, one_l2_many_times, one_l1_many_times, sparse_l1s, full_blocks_of_single_bits]


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_check_looks_at_no_more_than_a_few_times_what_is_stored(bomb: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    bomb(path)
    stored = path.stat().st_blocks * 512
    with open_file(path) as container:
        began = time.process_time()
        report = check_image(container, read_header(container, "it"), repair=True)
        spent = time.process_time() - began
        assert container.statistics.bytes_read < 9 * stored + (160 << 20)
    assert report.error_count or report.leaks
    assert report.repaired is (bomb is full_blocks_of_single_bits)
    assert spent < 60  # generous: it takes from 0.1 to 5 seconds


@pytest.mark.parametrize("bomb", [one_block_many_times, one_l2_many_times])
@pytest.mark.parametrize("incompatible", [0, DIRTY])
def test_a_table_that_names_another_twice_is_damage_when_it_is_opened(
    bomb: Callable[[Path, int], None], incompatible: int, tmp_path: Path
) -> None:
    bomb(tmp_path / "bomb", incompatible)
    with pytest.raises(ConfigError, match=r"names a block twice|names an L2 table twice|cannot be repaired"):
        open_image_file(tmp_path / "bomb")


def test_a_table_of_snapshots_is_bounded(tmp_path: Path) -> None:
    with create_file(tmp_path / "image", 1 << 40) as container:
        container.pwrite(header((CLUSTER, 2), (2 * CLUSTER, 1), snapshots=(3 * CLUSTER, 60000)), 0)
        entry = struct.pack(">QIHHIIQII", 0, 0, 65535, 65535, 0, 0, 0, 0, 0)
        for index in range(1000):
            container.pwrite(entry, 3 * CLUSTER + index * -(-(40 + 2 * 65535) // 8) * 8)
        with pytest.raises(OSError, match="its snapshots cannot be read"):
            read_snapshots(container, read_header(container, "it"))
        assert container.statistics.bytes_read < 70 << 20


def test_a_compressed_cluster_asks_for_no_large_window() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    packed = stream.compress(bytes(CLUSTER)) + stream.flush()
    container = Memory(CLUSTER)
    container.pwrite(packed, 512)
    with pytest.raises(OSError, match="cannot be read"):
        Codec(ZSTD, 16).load(container, COMPRESSED | 512)
