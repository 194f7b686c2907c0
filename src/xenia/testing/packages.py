"""Debian packages and kernel modules made to measure."""

import io
import lzma
import tarfile
from collections.abc import Callable, Mapping

import zstandard

from xenia.testing.kernels import elf_image


def module(name: str, *, depends: str = "", softdep: str = "", alias: str = "") -> bytes:
    """The ELF file of a kernel module that says this about itself."""
    pairs = {"name": name, "depends": depends, "softdep": softdep, "alias": alias, "vermagic": "6.1.0-test SMP"}
    modinfo = b"".join(f"{key}={value}".encode() + b"\0" for key, value in pairs.items() if value or key == "depends")
    return elf_image(sections=[(".text", b"\x90" * 16), (".modinfo", modinfo)])


def deb(files: Mapping[str, bytes], packing: str = "xz") -> bytes:
    """A Debian package with these files; packing is "xz", "zst" or "" (none)."""
    tape = io.BytesIO()
    with tarfile.open(fileobj=tape, mode="w") as tar:
        for path, data in files.items():
            member = tarfile.TarInfo(f"./{path}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    packers: dict[str, Callable[[bytes], bytes]] = {"xz": lzma.compress, "zst": zstandard.compress, "": bytes}
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": lzma.compress(b""),
        "data.tar" + (f".{packing}" if packing else ""): packers[packing](tape.getvalue()),
    }
    archive = b"!<arch>\n"
    for name, data in members.items():
        archive += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
        archive += data + b"\n" * (len(data) % 2)
    return archive
