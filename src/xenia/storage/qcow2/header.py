"""The header of a qcow2 image, versions 2 and 3.

The format is QEMU's, described in its docs/interop/qcow2.txt.  All numbers are big-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from xenia.errors import ConfigError
from xenia.storage.layer import Layer

MAGIC = 0x514649FB  # "QFI\xfb"
END, BACKING_FORMAT, FEATURE_NAMES = 0, 0xE2792ACA, 0x6803F857

DIRTY, CORRUPT, EXTERNAL_DATA, COMPRESSION_TYPE, EXTENDED_L2 = 1, 2, 4, 8, 16  # incompatible features
LAZY_REFCOUNTS = 1  # compatible feature

ZLIB, ZSTD = 0, 1
COMPRESSIONS = {"zlib": ZLIB, "zstd": ZSTD}

_V2 = struct.Struct(">IIQIIQIIQQIIQ")
_V3 = struct.Struct(">QQQII")
FIXED_SIZE = _V2.size + _V3.size  # what `pack` writes of a version 3 header

MAX_L1_BYTES = 32 << 20
MAX_REFCOUNT_TABLE_BYTES = 8 << 20
MAX_SNAPSHOTS = 65536


@dataclass
class Header:
    """The fields of the header; the rest of the first cluster stays as it is found."""

    size: int
    version: int = 3
    cluster_bits: int = 16
    backing_file: str = ""
    backing_format: str = ""
    backing_offset: int = 0
    encryption: int = 0
    l1_size: int = 0
    l1_offset: int = 0
    refcount_table_offset: int = 0
    refcount_table_clusters: int = 0
    snapshots: int = 0
    snapshots_offset: int = 0
    incompatible: int = 0
    compatible: int = 0
    autoclear: int = 0
    refcount_order: int = 4
    length: int = 112
    compression: int = ZLIB
    feature_names: dict[int, str] = field(default_factory=dict)  # of incompatible features, by bit

    @property
    def cluster_size(self) -> int:
        return 1 << self.cluster_bits

    @property
    def l2_entries(self) -> int:
        return self.cluster_size // 8

    def pack(self) -> bytes:
        """The fields whose values may change, which fill the beginning of the image; less than a sector."""
        packed = _V2.pack(
            MAGIC, self.version, self.backing_offset, len(self.backing_file.encode()), self.cluster_bits, self.size,
            self.encryption, self.l1_size, self.l1_offset, self.refcount_table_offset, self.refcount_table_clusters,
            self.snapshots, self.snapshots_offset,
        )  # fmt: skip
        if self.version == 2:
            return packed
        return packed + _V3.pack(self.incompatible, self.compatible, self.autoclear, self.refcount_order, self.length)

    def pack_new(self) -> bytes:
        """The whole first cluster of a new image, extensions and the backing file's name included."""
        name = self.backing_file.encode()
        extensions = b""
        if self.backing_format:
            extensions += _extension(BACKING_FORMAT, self.backing_format.encode())
        if self.version == 3:
            extensions += _extension(
                FEATURE_NAMES,
                b"".join(
                    struct.pack(">BB46s", kind, bit, text)
                    for kind, bit, text in (
                        (0, 0, b"dirty bit"),
                        (0, 1, b"corrupt bit"),
                        (0, 2, b"external data file"),
                        (0, 3, b"compression type"),
                        (0, 4, b"extended L2 entries"),
                        (1, 0, b"lazy refcounts"),
                    )
                ),
            )
        extensions += _extension(END, b"")
        start = _V2.size if self.version == 2 else self.length
        self.backing_offset = start + len(extensions) if name else 0
        packed = self.pack()
        if self.version == 3:
            packed += struct.pack(">B7x", self.compression)
        packed += extensions + name
        if len(packed) > self.cluster_size or len(name) > 1023:
            raise ConfigError(f"the backing file's name is too long for an image: {self.backing_file}")
        return packed


def read_header(container: Layer, what: str) -> Header:
    """The header of the image in `container`.  ConfigError, which calls it `what`, where it cannot be used."""
    if container.size < _V2.size:
        raise ConfigError(f"{what} is not a qcow2 image: it is too short")
    data = bytes(container.pread(0, min(container.size, 1 << 21)))
    (
        magic, version, backing_offset, backing_length, cluster_bits, size, encryption, l1_size, l1_offset,
        refcount_table_offset, refcount_table_clusters, snapshots, snapshots_offset,
    ) = _V2.unpack_from(data)  # fmt: skip
    if magic != MAGIC:
        raise ConfigError(f"{what} is not a qcow2 image")
    if version not in (2, 3):
        raise ConfigError(f"{what} is a qcow2 image of version {version}; 2 and 3 can be used")
    if not 9 <= cluster_bits <= 21:
        raise ConfigError(f"{what} is damaged: clusters of 2^{cluster_bits} bytes")
    header = Header(
        size, version, cluster_bits, "", "", backing_offset, encryption, l1_size, l1_offset, refcount_table_offset,
        refcount_table_clusters, snapshots, snapshots_offset, length=_V2.size,
    )  # fmt: skip
    data = data[: header.cluster_size]
    if version == 3:
        if len(data) < FIXED_SIZE:
            raise ConfigError(f"{what} is damaged: its header is cut off")
        header.incompatible, header.compatible, header.autoclear, header.refcount_order, header.length = (
            _V3.unpack_from(data, _V2.size)
        )
        if header.length < FIXED_SIZE or header.length > len(data):
            raise ConfigError(f"{what} is damaged: a header of {header.length} bytes")
        if header.incompatible & COMPRESSION_TYPE and header.length > FIXED_SIZE:
            header.compression = data[FIXED_SIZE]
    _read_extensions(header, data)
    if backing_offset:
        if backing_length > 1023 or backing_offset + backing_length > len(data):
            raise ConfigError(f"{what} is damaged: the name of its backing file is not in its header")
        name = data[backing_offset : backing_offset + backing_length]
        if b"\0" in name:
            raise ConfigError(f"{what} is damaged: the name of its backing file holds a zero byte")
        header.backing_file = name.decode("utf-8", "surrogateescape")
    _check(header, container, what)
    return header


def _read_extensions(header: Header, data: bytes) -> None:
    at = header.length
    while at + 8 <= len(data):
        kind, length = struct.unpack_from(">II", data, at)
        body = data[at + 8 : at + 8 + length]
        if kind == END or len(body) < length:
            break
        if kind == BACKING_FORMAT:
            header.backing_format = body.decode("ascii", "replace")
        elif kind == FEATURE_NAMES:
            for start in range(0, length - 47, 48):
                if body[start] == 0:
                    name = body[start + 2 : start + 48].rstrip(b"\0").decode("ascii", "replace")
                    header.feature_names[body[start + 1]] = name
        at += 8 + -(-length // 8) * 8


def _check(header: Header, container: Layer, what: str) -> None:
    if header.encryption:
        raise ConfigError(f"{what} is encrypted in qcow2's own way; convert it with qemu-img, and use the crypt layer")
    if header.incompatible & EXTERNAL_DATA:
        raise ConfigError(f"{what} keeps its data in another file, which is not supported; convert it with qemu-img")
    if header.incompatible & EXTENDED_L2:
        raise ConfigError(f"{what} has extended L2 entries, which are not supported; convert it with qemu-img")
    if unknown := header.incompatible & ~(DIRTY | CORRUPT | COMPRESSION_TYPE):
        bit = unknown.bit_length() - 1
        raise ConfigError(f"{what} needs a feature that is not known: {header.feature_names.get(bit, f'bit {bit}')}")
    if header.compression not in (ZLIB, ZSTD):
        raise ConfigError(f"{what} is compressed in an unknown way ({header.compression})")
    if header.refcount_order > 6:
        raise ConfigError(f"{what} is damaged: reference counts of 2^{header.refcount_order} bits")
    mask = header.cluster_size - 1
    reach = header.cluster_size * header.l2_entries
    table_bytes = header.refcount_table_clusters << header.cluster_bits
    damage = (
        ("its size", header.size >= 1 << 62 or header.size % 512),
        ("the length of its L1 table", header.l1_size * 8 > MAX_L1_BYTES or header.l1_size < -(-header.size // reach)),
        ("where its L1 table is", header.l1_offset & mask or header.l1_offset + header.l1_size * 8 > container.size),
        ("where its refcount table is", header.refcount_table_offset & mask
         or header.refcount_table_offset + table_bytes > container.size),
        ("the length of its refcount table", not 0 < table_bytes <= MAX_REFCOUNT_TABLE_BYTES),
        ("its snapshots", header.snapshots > MAX_SNAPSHOTS
         or (header.snapshots and header.snapshots_offset & mask)
         or (header.snapshots and header.snapshots_offset >= container.size)),
    )  # fmt: skip
    for part, wrong in damage:
        if wrong:
            raise ConfigError(f"{what} is damaged: {part} cannot be")


def _extension(kind: int, body: bytes) -> bytes:
    return struct.pack(">II", kind, len(body)) + body + bytes(-len(body) % 8)
