"""Debian packages and kernel modules made to measure."""

import gzip
import io
import lzma
import tarfile
from collections.abc import Callable, Iterable, Mapping

import zstandard

from xenia.testing.kernels import elf_image


def module(name: str, *, depends: str = "", softdep: str = "", alias: str = "") -> bytes:
    """The ELF file of a kernel module that says this about itself."""
    pairs = {"name": name, "depends": depends, "softdep": softdep, "alias": alias, "vermagic": "6.1.0-test SMP"}
    modinfo = b"".join(f"{key}={value}".encode() + b"\0" for key, value in pairs.items() if value or key == "depends")
    return elf_image(sections=[(".text", b"\x90" * 16), (".modinfo", modinfo)])


def deb(
    files: Mapping[str, bytes],
    packing: str = "xz",
    *,
    control: Mapping[str, bytes] | None = None,
    directories: Iterable[str] = (),
    links: Mapping[str, str] | None = None,
) -> bytes:
    """A Debian package with these files, and symbolic links to targets; packing is "xz", "zst", "gz" or "" (none).

    control     its control files: scripts are those that begin as one
    """
    packers: dict[str, Callable[[bytes], bytes]] = {
        "xz": lzma.compress, "zst": zstandard.compress, "gz": gzip.compress, "": bytes
    }  # fmt: skip
    suffix = f".{packing}" if packing else ""
    members = {
        "debian-binary": b"2.0\n",
        f"control.tar{suffix}": packers[packing](_tar(control or {})),
        f"data.tar{suffix}": packers[packing](_tar(files, directories, links or {})),
    }
    archive = b"!<arch>\n"
    for name, data in members.items():
        archive += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
        archive += data + b"\n" * (len(data) % 2)
    return archive


def _tar(files: Mapping[str, bytes], directories: Iterable[str] = (), links: Mapping[str, str] | None = None) -> bytes:
    tape = io.BytesIO()
    with tarfile.open(fileobj=tape, mode="w") as tar:
        for path in directories:
            member = tarfile.TarInfo(f"./{path}")
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(member)
        for path, data in files.items():
            member = tarfile.TarInfo(f"./{path}")
            member.size, member.mode = len(data), 0o755 if data.startswith(b"#!") else 0o644
            tar.addfile(member, io.BytesIO(data))
        for path, target in (links or {}).items():
            member = tarfile.TarInfo(f"./{path}")
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return tape.getvalue()
