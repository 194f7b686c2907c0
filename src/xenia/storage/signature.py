"""What the first and last bytes of a file say about its format.  It is never acted upon, only told."""

from __future__ import annotations

from dataclasses import dataclass

LENGTH = 512  # bytes at either end in which the signatures are


@dataclass(frozen=True, slots=True)
class Signature:
    """A format by the bytes at an offset; a negative one counts from the end."""

    name: str
    magic: bytes
    advice: str  # with {path} and {words}, the words of the stack that follow the file
    offset: int = 0


def _image(name: str, magic: bytes, kind: str, offset: int = 0) -> Signature:
    return Signature(name, magic, f"convert it: qemu-img convert -f {kind} -O qcow2 {{path}} new.qcow2", offset)


def _packed(name: str, magic: bytes, program: str) -> Signature:
    return Signature(f"{name} data", magic, f"unpack it first: {program}")


SIGNATURES = (
    _image("the first version of qcow", b"QFI\xfb\0\0\0\1", "qcow"),
    Signature("qcow2", b"QFI\xfb", "say qcow2:{path}{words}"),
    Signature("an encrypted disk (LUKS)", b"LUKS\xba\xbe", "say file:{path},crypt:key=@KEY{words}"),
    _image("VMDK", b"KDMV", "vmdk"),
    _image("VMDK", b"COWD", "vmdk"),
    _image("VMDK", b"# Disk DescriptorFile", "vmdk"),
    _image("VDI", b"\x7f\x10\xda\xbe", "vdi", 64),
    _image("VHDX", b"vhdxfile", "vhdx"),
    _image("VHD", b"conectix", "vpc"),
    _image("VHD", b"conectix", "vpc", -512),
    _image("QED", b"QED\0", "qed"),
    _image("a Parallels disk", b"WithoutFreeSpace", "parallels"),
    _image("a Parallels disk", b"WithouFreSpacExt", "parallels"),
    _image("a Bochs disk", b"Bochs Virtual HD Image", "bochs"),
    _packed("gzip", b"\x1f\x8b\x08", "gunzip -k {path}"),
    _packed("xz", b"\xfd7zXZ\0", "unxz -k {path}"),
    _packed("Zstandard", b"\x28\xb5\x2f\xfd", "unzstd {path}"),
    _packed("LZ4", b"\x04\x22\x4d\x18", "unlz4 {path}"),
    _packed("bzip2", b"BZh", "bunzip2 -k {path}"),
    _packed("lzip", b"LZIP", "lunzip -k {path}"),
    _packed("ZIP", b"PK\3\4", "unzip {path}"),
    _packed("7-Zip", b"7z\xbc\xaf\x27\x1c", "7z x {path}"),
)


def signature(first: bytes, last: bytes) -> Signature | None:
    """The format that a file's first and last bytes, LENGTH of each, are those of."""
    for one in SIGNATURES:
        where = first[one.offset :] if one.offset >= 0 else last[one.offset :]
        if where.startswith(one.magic):
            return one
    return None
