"""From a kernel file to an ELF image.

Linux ships its kernel as a bzImage: real-mode setup code, a small decompressor, and between them the packed ELF image
(the payload).  A hypervisor that loads the ELF image itself needs none of the code, so it takes the payload as the boot
protocol's header describes it and unpacks it here.  An ELF file, bare or packed, is taken as it is.

Nothing here trusts the file: every offset is checked against its length, and no payload unpacks to more than the size
it states, or MAX_IMAGE.
"""

import bz2
import lzma
import zlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from struct import unpack_from

import lz4.block
import zstandard

from xenia.domain.build.image_file import read_image
from xenia.errors import ConfigError

MAX_IMAGE = 512 << 20  # no kernel image may be larger: Linux reserves itself 512 MB of address space

_LZ4_LEGACY_BLOCK = 8 << 20  # the legacy LZ4 frame has blocks that unpack to 8 MB, the last one to less
_DECODER_MEMORY = 512 << 20  # for dictionaries; the kernel's own build uses up to 128 MB


# What the decoders raise on damaged input.
_DAMAGED = (
    ValueError, OSError, EOFError, zlib.error, lzma.LZMAError, lz4.block.LZ4BlockError, zstandard.ZstdError
)  # fmt: skip


class Packing(StrEnum):
    """How an ELF image is packed."""

    NONE = "none"
    GZIP = "gzip"
    BZIP2 = "bzip2"
    LZMA = "lzma"
    XZ = "xz"
    LZO = "lzo"
    LZ4 = "lz4"
    ZSTD = "zstd"


_MAGIC = (
    (b"\x7fELF", Packing.NONE),
    (b"\x1f\x8b", Packing.GZIP),
    (b"BZh", Packing.BZIP2),
    (b"\x5d\x00\x00", Packing.LZMA),
    (b"\xfd7zXZ\x00", Packing.XZ),
    (b"\x89LZO", Packing.LZO),
    (b"\x02\x21\x4c\x18", Packing.LZ4),
    (b"\x28\xb5\x2f\xfd", Packing.ZSTD),
)


@dataclass(frozen=True)
class KernelFile:
    """What a kernel file holds.

    container   "bzImage" or "ELF"
    packing     how the image in it is packed
    payload     the packed image
    size        bytes the image unpacks to, as the file states; None if it does not
    version     the version string of a bzImage, else ""
    """

    container: str
    packing: Packing
    payload: memoryview
    size: int | None
    version: str


def read_kernel_file(data: bytes | memoryview, name: str) -> KernelFile:
    """Find the packed image in the bytes of a kernel file; ConfigError says what is wrong with the file `name`."""
    view = memoryview(data).cast("B")
    if len(view) >= 0x206 and bytes(view[0x202:0x206]) == b"HdrS":
        return _read_bzimage(view, name)
    packing = _packing(view)
    if packing is None:
        raise ConfigError(f"{name}: not a kernel image (neither a bzImage nor an ELF file)")
    return KernelFile("ELF", packing, view, len(view) if packing is Packing.NONE else None, "")


def _read_bzimage(view: memoryview, name: str) -> KernelFile:
    if len(view) < 0x250:
        raise ConfigError(f"{name}: truncated bzImage")
    (protocol,) = unpack_from("<H", view, 0x206)
    if protocol < 0x208:
        version = f"{protocol >> 8}.{protocol & 0xFF:02}"
        raise ConfigError(f"{name}: bzImage of boot protocol {version}; at least 2.08 is needed")
    setup_sectors = view[0x1F1] or 4
    offset, length = unpack_from("<II", view, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    if length < 8 or start + length > len(view):
        raise ConfigError(f"{name}: truncated bzImage (its payload ends at byte {start + length} of {len(view)})")
    payload = view[start : start + length]
    packing = _packing(payload)
    if packing is None:
        raise ConfigError(f"{name}: the payload of this bzImage is packed in an unknown way")
    # The kernel's build appends the unpacked size to every payload; a gzip payload ends with its own, in the same form.
    (size,) = unpack_from("<I", payload, length - 4)
    if packing is Packing.NONE:
        size = length
    elif packing is not Packing.GZIP:
        payload = payload[:-4]
    return KernelFile("bzImage", packing, payload, size, _version(view))


def _version(view: memoryview) -> str:
    (pointer,) = unpack_from("<H", view, 0x20E)
    if not pointer:
        return ""
    text = bytes(view[pointer + 0x200 : pointer + 0x400])
    return text.split(b"\0", 1)[0].decode("ascii", "replace")


def _packing(view: memoryview) -> Packing | None:
    head = bytes(view[:8])
    return next((packing for magic, packing in _MAGIC if head.startswith(magic)), None)


def unpack(file: KernelFile, name: str) -> bytes | memoryview:
    """The ELF image; ConfigError if the payload is damaged or unpacks to more than it says (or than MAX_IMAGE)."""
    if file.packing is Packing.NONE:
        return file.payload
    if file.packing is Packing.LZO:
        raise ConfigError(f"{name}: LZO payloads are not supported; unpack it with the kernel's extract-vmlinux script")
    limit = MAX_IMAGE if file.size is None else file.size
    if limit > MAX_IMAGE:
        raise ConfigError(f"{name}: its payload claims {limit >> 20} MB unpacked, more than {MAX_IMAGE >> 20} MB")
    try:
        # One byte more than allowed is enough to see that it would be too much.
        image = _unpack(file.packing, file.payload, limit + 1)
    except _DAMAGED as error:
        raise ConfigError(f"{name}: damaged {file.packing} payload ({str(error) or 'unexpected end'})") from None
    if len(image) > limit:
        raise ConfigError(f"{name}: its {file.packing} payload unpacks to more than the {limit} bytes allowed")
    if file.size is not None and len(image) < file.size:
        raise ConfigError(f"{name}: truncated {file.packing} payload ({len(image)} of {file.size} bytes)")
    if image[:4] != b"\x7fELF":
        raise ConfigError(f"{name}: its {file.packing} payload is not an ELF image")
    return image


def _unpack(packing: Packing, payload: memoryview, limit: int) -> bytes:
    match packing:
        case Packing.GZIP:
            inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
            image = inflate.decompress(payload, limit)
            if not inflate.eof and len(image) < limit:
                raise EOFError
            return image
        case Packing.BZIP2:
            return bz2.BZ2Decompressor().decompress(payload, limit)
        case Packing.LZMA:
            return lzma.LZMADecompressor(lzma.FORMAT_ALONE, _DECODER_MEMORY).decompress(payload, limit)
        case Packing.XZ:
            return lzma.LZMADecompressor(lzma.FORMAT_XZ, _DECODER_MEMORY).decompress(payload, limit)
        case Packing.ZSTD:
            return zstandard.ZstdDecompressor(max_window_size=_DECODER_MEMORY).stream_reader(payload).read(limit)
        case Packing.LZ4:
            return _unpack_lz4_legacy(payload, limit)
        case _:
            raise ValueError(packing)


def _unpack_lz4_legacy(payload: memoryview, limit: int) -> bytes:
    image = bytearray()
    position = 4
    while position + 4 <= len(payload) and len(image) < limit:
        (length,) = unpack_from("<I", payload, position)
        position += 4
        if length > len(payload) - position:
            raise EOFError
        image += lz4.block.decompress(payload[position : position + length], uncompressed_size=_LZ4_LEGACY_BLOCK)
        position += length
    return bytes(image)


def load_image(path: Path) -> bytes | memoryview:
    """Read a kernel file and unpack the ELF image in it."""
    data = read_image(path, MAX_IMAGE)
    return unpack(read_kernel_file(data, str(path)), str(path))
