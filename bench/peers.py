"""Programs that Xenia is compared with: QEMU, real Xen inside QEMU, User-Mode Linux; how to find and how to run them.

Nothing here is needed to run Xenia.  Whatever is not there raises Missing, with one line that says what to install.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from guests import build as guests
from xenia.errors import ConfigError

# With SMAP, QEMU's iret in ring 3 faults on its own stack, and Linux under Xen with it.
# (A sysenter of a guest's is the end of Xen there: QEMU gives it a stack that Xen has guarded.)
CPU = "max,-smap,-smep,vendor=GenuineIntel"
XEN_ARGUMENTS = "console=com1 com1=115200 guest_loglvl=all no-real-mode watchdog=0"
# For comparisons of speed: mitigations of the processor's faults would only slow the peer down.
FASTEST = "spec-ctrl=no xpti=off"
XEN_PACKAGE = "xen-hypervisor-4.17-amd64"


class Missing(Exception):
    """A peer that is not on this host."""


def find(program: str, package: str) -> str:
    """The path of a program, or Missing with the package that has it."""
    path = shutil.which(program)
    if path is None:
        raise Missing(f"{program} is not here (Debian package {package})")
    return path


def qemu() -> str:
    """QEMU's x86-64 system emulator."""
    return find("qemu-system-x86_64", "qemu-system-x86")


def user_mode_linux() -> str:
    """Debian's build of Linux for user mode."""
    return find("linux.uml", "user-mode-linux")


def slirp() -> Path:
    """The user-mode network of the same age, without a modem's slowness: the host's, or the package's by the cache."""
    installed = shutil.which("slirp-fullbolt")
    if installed:
        return Path(installed)
    from xenia.toolstack.provision.cache import Cache
    from xenia.toolstack.provision.deb import read_deb
    from xenia.toolstack.provision.packages import PackageClient

    cache = Cache()
    target = cache.path("peers", "slirp-fullbolt")
    if target.exists():
        return target
    client = PackageClient(cache)
    try:
        with tempfile.TemporaryDirectory() as directory:
            for member, contents in read_deb(client.download(client.find(["slirp"]), Path(directory))):
                if member.name.endswith("bin/slirp-fullbolt") and contents is not None:
                    with cache.new_file(target) as new:
                        new.write_bytes(contents.read())
                    target.chmod(0o755)
                    return target
    except ConfigError as error:
        raise Missing(f"slirp is not here: {error}") from None
    raise Missing("no slirp-fullbolt in the package slirp")


def xen() -> Path:
    """Real Xen as an ELF file: $XENIA_PEER_XEN, /boot, or the distribution's package by way of the cache."""
    named = os.environ.get("XENIA_PEER_XEN")
    if named:
        return _unpacked_xen(Path(named))
    installed = sorted(Path("/boot").glob("xen-4.17*.gz"))
    return _unpacked_xen(installed[0]) if installed else _xen_from_package()


def _unpacked_xen(path: Path) -> Path:
    data = path.read_bytes()
    if not data.startswith(b"\x1f\x8b"):
        return path
    from xenia.toolstack.provision.cache import Cache

    cache = Cache()
    target = cache.path("peers", path.with_suffix(".elf").name)
    if not target.exists() or target.stat().st_mtime < path.stat().st_mtime:
        with cache.new_file(target) as new:
            new.write_bytes(gzip.decompress(data))
    return target


def _xen_from_package() -> Path:
    from xenia.toolstack.provision.cache import Cache
    from xenia.toolstack.provision.deb import read_deb
    from xenia.toolstack.provision.packages import PackageClient

    cache = Cache()
    target = cache.path("peers", f"{XEN_PACKAGE}.elf")
    if target.exists():
        return target
    client = PackageClient(cache)
    try:
        with tempfile.TemporaryDirectory() as directory:
            package = client.download(client.find([XEN_PACKAGE]), Path(directory))
            for member, contents in read_deb(package):
                if re.search(r"boot/xen-4\.[0-9]+-amd64\.gz$", member.name) and contents is not None:
                    with cache.new_file(target) as new:
                        new.write_bytes(gzip.decompress(contents.read()))
                    return target
    except ConfigError as error:
        raise Missing(f"real Xen is not here: {error}") from None
    raise Missing(f"no hypervisor in the package {XEN_PACKAGE}")


def linux_modules(release: str, wanted: Iterable[str]) -> dict[str, bytes]:
    """Those modules of the distribution's kernel, and all they depend on, by name: other machines' drivers."""
    from xenia.toolstack.provision.cache import Cache
    from xenia.toolstack.provision.deb import read_deb
    from xenia.toolstack.provision.modules import SUFFIXES, load_order, read_modinfo, unpack_module
    from xenia.toolstack.provision.packages import PackageClient

    wanted = sorted(wanted)
    cache = Cache()
    target = cache.path("peers", f"modules-{release}-{'-'.join(wanted)}")
    if not target.exists():
        client = PackageClient(cache)
        found: dict[str, bytes] = {}
        try:
            package = client.find([f"linux-modules-{release}", f"linux-image-{release}"])
            with tempfile.TemporaryDirectory() as directory:
                for member, contents in read_deb(client.download(package, Path(directory))):
                    if contents is not None and "/modules/" in member.name and member.name.endswith(SUFFIXES):
                        data = unpack_module(contents.read(), member.name)
                        found[read_modinfo(data, member.name).name] = data
            order = load_order(wanted, {name: read_modinfo(data, name) for name, data in found.items()})
        except ConfigError as error:
            raise Missing(f"the kernel's modules are not here: {error}") from None
        with cache.new_directory(target) as new:
            for name in order:
                (new / f"{name}.ko").write_bytes(found[name])
    return {path.stem: path.read_bytes() for path in target.glob("*.ko")}


def archive(files: Mapping[str, bytes]) -> bytes:
    """A cpio archive (newc) of executable files; a name that ends in a slash is a directory."""
    out = bytearray()
    for inode, (path, data) in enumerate([*files.items(), ("TRAILER!!!", b"")], 1):
        name = path.rstrip("/")
        mode = 0o040755 if path.endswith("/") else 0o100755
        fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        out += b"070701" + b"".join(b"%08x" % value for value in fields) + name.encode() + b"\0"
        out += b"\0" * (-len(out) % 4) + data
        out += b"\0" * (-len(out) % 4)
    return bytes(out)


@dataclass(frozen=True)
class Program:
    """A PV kernel for real Xen: an ELF with Xen notes.  `memory` in MiB, `seconds` the longest it may run."""

    kernel: bytes
    initrd: bytes = b""
    command_line: str = ""
    memory: int = 16
    seconds: int = 20


@dataclass(frozen=True)
class Answer:
    """What a guest wrote on its console, and how it ended: poweroff, reboot, crash, watchdog, timeout ..."""

    lines: tuple[str, ...]
    ending: str
    hypervisor: tuple[str, ...] = field(default=(), compare=False)


def real_xen(programs: Mapping[str, Program], *, timeout: float = 300, arguments: str = "") -> dict[str, Answer]:
    """Run each program as an unprivileged domain of real Xen, under QEMU, one after another in one boot.

    Missing when QEMU, Xen or a compiler is not here.  Names must not contain a dot.
    `arguments` are more words for Xen's command line.
    """
    try:
        dom0 = guests.build("oracle", guests.OUTPUT / "oracle")
    except guests.NoCompiler as error:
        raise Missing(str(error)) from None
    files: dict[str, bytes] = {}
    for name, program in programs.items():
        files[name] = program.kernel
        files[f"{name}.pages"] = b"%d" % (program.memory << 8)
        files[f"{name}.seconds"] = b"%d" % program.seconds
        if program.initrd:
            files[f"{name}.initrd"] = program.initrd
        if program.command_line:
            files[f"{name}.cmdline"] = program.command_line.encode()
    largest = max(program.memory for program in programs.values())
    initrd = archive(files)
    dom0_memory = 64 + 2 * (len(initrd) >> 20)
    with tempfile.NamedTemporaryFile() as module:
        module.write(initrd)
        module.flush()
        command = [
            *(qemu(), "-accel", "tcg", "-cpu", CPU, "-m", str(160 + dom0_memory + largest)),
            *("-display", "none", "-nodefaults", "-no-reboot", "-serial", "stdio"),
            *("-kernel", str(xen()), "-initrd", f"{dom0},{module.name}"),
            *("-append", f"{XEN_ARGUMENTS} {arguments} dom0_mem={dom0_memory}M"),
        ]
        answer = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False)
    return read_answers(answer.stdout.decode("utf-8", "replace").splitlines())


_BEGIN = re.compile(r"== begin (\S+)$")
_END = re.compile(r"== end (\S+) (\S+)$")


def read_answers(log: Iterable[str]) -> dict[str, Answer]:
    """The answers in the serial log.  A line of Xen's may come in the middle of a guest's."""
    answers: dict[str, Answer] = {}
    lines: list[str] = []
    said: list[str] = []
    begun = ""
    for line in log:
        before, mark, words = line.partition("(XEN) ")
        if mark:
            said.append(words)
            begun += before
            continue
        line, begun = begun + line, ""
        if _BEGIN.match(line):
            lines, said = [], []
        elif match := _END.match(line):
            while lines and not lines[-1]:
                lines.pop()
            answers[match[1]] = Answer(tuple(lines), match[2], tuple(said))
        else:
            lines.append(line)
    return answers
