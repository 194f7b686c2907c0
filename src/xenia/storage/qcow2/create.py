"""A new qcow2 image, in a container that can grow or is large enough."""

from __future__ import annotations

from array import array

from xenia.errors import ConfigError
from xenia.storage.aligned import fine
from xenia.storage.layer import Layer
from xenia.storage.qcow2.header import COMPRESSION_TYPE, COMPRESSIONS, MAX_L1_BYTES, ZLIB, Header
from xenia.storage.qcow2.table import big_endian


def create_image(
    container: Layer,
    size: int,
    *,
    version: int = 3,
    cluster_bits: int = 16,
    refcount_order: int = 4,
    backing_file: str = "",
    backing_format: str = "",
    compression: str = "zstd",
) -> Header:
    """Write an empty image of `size` bytes, rounded up to sectors.  The container is no image before the last write."""
    if compression not in COMPRESSIONS:
        raise ConfigError(f"'{compression}' is not a compression of qcow2 ({', '.join(COMPRESSIONS)})")
    if not 9 <= cluster_bits <= 21:
        raise ConfigError("a cluster has from 512 bytes to 2M")
    if version not in (2, 3):
        raise ConfigError(f"there is no version {version} of qcow2; 2 and 3 can be made")
    if version == 2 and (compression != "zlib" or refcount_order != 4):
        raise ConfigError("a qcow2 image of version 2 is compressed with zlib, and has reference counts of 16 bits")
    container = fine(container)
    header = Header(
        -(-size // 512) * 512, version, cluster_bits, backing_file, backing_format, refcount_order=refcount_order,
        compression=COMPRESSIONS[compression],
    )  # fmt: skip
    if header.compression != ZLIB:
        header.incompatible |= COMPRESSION_TYPE
    cluster_size = header.cluster_size
    block_entries = cluster_size * 8 >> refcount_order
    header.l1_size = max(1, -(-header.size // (cluster_size * header.l2_entries)))
    l1_clusters = -(-header.l1_size * 8 // cluster_size)
    if header.l1_size * 8 > MAX_L1_BYTES:
        raise ConfigError(f"an image of {size} bytes needs larger clusters")
    table_clusters = blocks = 1
    while True:
        used = 1 + table_clusters + blocks + l1_clusters
        if blocks * block_entries < used:
            blocks = -(-used // block_entries)
        elif table_clusters * cluster_size // 8 < blocks:
            table_clusters = -(-blocks * 8 // cluster_size)
        else:
            break
    header.refcount_table_offset, header.refcount_table_clusters = cluster_size, table_clusters
    first_block = (1 + table_clusters) * cluster_size
    header.l1_offset = first_block + blocks * cluster_size
    if container.size < used * cluster_size:
        if not container.can_resize:
            raise ConfigError(f"there is no room for an image in {container.size} bytes")
        container.resize(used * cluster_size)

    table = array("Q", [first_block + index * cluster_size for index in range(blocks)])
    table.extend([0] * (table_clusters * cluster_size // 8 - blocks))
    container.pwrite(big_endian(table), header.refcount_table_offset)
    container.write_zeroes(first_block, (blocks + l1_clusters) * cluster_size)
    container.pwrite(_counts(used, 1 << refcount_order), first_block)
    container.flush()
    container.pwrite(header.pack_new(), 0)
    container.flush()
    return header


def _counts(used: int, bits: int) -> bytes:
    """Reference counts of one each."""
    if bits >= 8:
        return (bytes(bits // 8 - 1) + b"\1") * used
    whole = sum(1 << shift for shift in range(0, 8, bits))
    per_byte = 8 // bits
    rest = sum(1 << shift * bits for shift in range(used % per_byte))
    return bytes([whole]) * (used // per_byte) + (bytes([rest]) if rest else b"")
