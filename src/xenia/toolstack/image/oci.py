"""A root disk from a container image: its layers are put together here, and on the disk by a guest, which is root."""

from __future__ import annotations

import copy
import re
import tarfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from xenia.errors import ConfigError
from xenia.storage.size import MIB
from xenia.storage.stack import begins_as_zeroes, words_of
from xenia.toolstack.config.machine import format_size
from xenia.toolstack.disks.new_disk import new_disk, refuse_existing, refuse_overlays
from xenia.toolstack.image.config import MOST_SIZE, refuse_more
from xenia.toolstack.image.installation import BuildWords, Installation, install, installer, nameless
from xenia.toolstack.image.oci_archive import DAMAGED, open_tar, opened, read_image, unpacked_layers
from xenia.toolstack.image.oci_config import image_command
from xenia.toolstack.image.oci_tree import XATTR, Inode, Tree
from xenia.toolstack.image.package import read_package
from xenia.toolstack.image.sparse import Extent, extents, pack
from xenia.toolstack.image.tools import tool_files
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.provision.initramfs import FILE_SYSTEMS, FRONTENDS, base_initramfs
from xenia.toolstack.provision.kernels import Kernels
from xenia.toolstack.provision.packages import PackageClient

COMMAND = ".xenia"  # in the root directory: what the agent runs
LEAST_SIZE = 64 * MIB
_USUAL_SIZE = 2048 * MIB
_MOST = 32 << 30  # bytes that an image may unpack to, where nobody said how large the disk is to be
_BLOCK = 4096
_INODE = 256
# What a system has that a container is given by who runs it.
_FOLDERS = {"dev": 0o755, "proc": 0o555, "sys": 0o555, "run": 0o755, "tmp": 0o1777, "etc": 0o755}
_FILES = {
    "etc/hosts": b"127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n",
    "etc/resolv.conf": b"",
}
_TIMES = range(-(1 << 31), 15 << 30)  # that ext4 keeps: from 1901 to 2446


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerConfig:
    """A disk from a container image.

    archive   a tar archive or a layout
    output    the disk
    size      of the whole disk in bytes; None: as much again as is in it, and at least 2 GiB
    tag       which of several images
    replace   whether the disk may take the place of another file

    ConfigError for values that can never be had.
    """

    archive: Path
    output: str
    size: int | None = None
    tag: str | None = None
    replace: bool = False

    def __post_init__(self) -> None:
        if self.size is not None and (self.size % _BLOCK or self.size < LEAST_SIZE):
            raise ConfigError(
                f"a disk of {format_size(max(self.size, 0))}: give it at least {format_size(LEAST_SIZE)}, in whole "
                f"blocks of {_BLOCK} bytes"
            )
        refuse_more(self.size or 0)


@dataclass(frozen=True, slots=True)
class BuiltContainer:
    """A disk that was made: of which image ("" if it has no name), with how many layers and files, and what it runs."""

    image: str
    size: int
    source: str
    layers: int
    files: int
    command: list[str]
    seconds: float


def build_container(config: ContainerConfig, words: BuildWords) -> BuiltContainer:
    """Make the disk.  ConfigError: no such image, a damaged one, a disk that cannot be made or is too small."""
    start = time.monotonic()
    cache = Cache()
    client = PackageClient(cache, words.progress)
    kernels = Kernels(cache, client, words.progress)
    refuse_overlays(config.output)
    refuse_existing(config.output, config.replace)
    where = str(config.archive)
    limit = 2 * config.size if config.size is not None else _MOST
    with ExitStack() as stack:
        disk = ""
        if config.size is not None:  # a size that the host has no room for is told before there is much work done
            disk = stack.enter_context(new_disk(config.output, config.size, config.replace))
        source = stack.enter_context(opened(config.archive, cache, words.progress, limit))
        image = read_image(source, where, config.tag)
        layers = stack.enter_context(unpacked_layers(image, source, where, limit, cache, words.progress))
        tree = put_together(layers, where)
        command = image_command(image.config, tree, where)
        _complete(tree, command.encode())
        packed = _measure(tree, limit, where)
        needed = -(-(packed.size * 9 // 8 + packed.files * _INODE + 24 * MIB) // MIB) * MIB
        size = config.size if config.size is not None else max(_USUAL_SIZE, 2 * needed)
        if size < needed:
            raise ConfigError(f"a disk of {format_size(size)} is too small: this image needs {format_size(needed)}")
        disk = disk or stack.enter_context(new_disk(config.output, size, config.replace))
        archive = stack.enter_context(cache.scratch_file())
        _pack(tree, archive, packed, where, words)
        kernel = kernels.get()
        base = base_initramfs(cache, kernels.busybox(), kernel, FRONTENDS, FILE_SYSTEMS[:1])
        tools = _tools(client, cache)
        environment = {"INODES": str(max(packed.files * 5 // 4 + 1024, size // 16384))}
        zeroed = begins_as_zeroes(words_of(disk))
        boot = installer(base, kernel, tools, zeroed, cache, script="unpack.sh", environment=environment)
        install(boot, disk, nameless(archive), Installation(0, 0), words)
    return BuiltContainer(
        config.output, size, image.name, len(image.layers), packed.files, list(command.arguments),
        time.monotonic() - start,
    )  # fmt: skip


def put_together(layers: Sequence[IO[bytes]], where: str) -> Tree:
    """The file system that unpacked layers make, over one another; they have to stay open.  ConfigError."""
    tree = Tree(where)
    for number, layer in enumerate(layers, 1):
        try:
            tree.add_layer(open_tar(layer))
        except (OSError, *DAMAGED):
            raise ConfigError(f"{where}: layer {number}: damaged, or no archive at all") from None
    return tree


def _complete(tree: Tree, command: bytes) -> None:
    """Add what who runs a container gives it, and what the agent is told."""
    for path, mode in _FOLDERS.items():
        found = tree.find(path)
        if found is None or found.names is None:
            member = tarfile.TarInfo(path)
            member.type, member.mode = tarfile.DIRTYPE, mode
            tree.add(member)
    for path, data in (*_FILES.items(), (COMMAND, command)):
        if path == COMMAND or tree.find(path) is None:
            tree.add_file(path, data)


@dataclass
class Packed:
    """What a disk is to have on it: bytes, and files."""

    size: int = 0
    files: int = 0


def _measure(tree: Tree, limit: int, where: str) -> Packed:
    """What there is of a tree, by what is said of its files.  ConfigError where it is too much, or damaged."""
    packed = Packed()
    known: set[int] = set()
    for path, inode in tree.paths():
        packed.files += 1
        if id(inode) in known:
            continue
        known.add(id(inode))
        size = inode.member.size if inode.member.isreg() else 0
        if size >= MOST_SIZE:
            raise ConfigError(f"{where}: a layer has a file that no disk holds: {path} of {format_size(size)}")
        data = _extents(inode, where)
        held = size if data is None else sum(extent.size for extent in data)
        packed.size += -(-held // _BLOCK) * _BLOCK
        if packed.size > limit:
            raise ConfigError(
                f"{where}: its files are larger than {limit >> 20}M together: give the disk more with --size"
            )
    return packed


def _extents(inode: Inode, where: str) -> list[Extent] | None:
    try:
        return extents(inode)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _pack(tree: Tree, file: IO[bytes], packed: Packed, where: str, words: BuildWords) -> None:
    """Write one archive of a tree that was measured.  ConfigError where a layer ends before its files do."""
    first: dict[int, str] = {}
    done = 0
    try:
        with tarfile.TarFile(
            fileobj=file, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape"
        ) as archive:
            for path, inode in tree.paths():
                member = _member(path, inode)
                if id(inode) in first:
                    member.type, member.linkname, member.size = tarfile.LNKTYPE, first[id(inode)], 0
                    archive.addfile(member)
                    continue
                first[id(inode)] = path
                data = _extents(inode, where)
                done += member.size if data is None else sum(extent.size for extent in data)
                archive.addfile(member, inode.contents() if data is None else pack(member, inode, data))
                words.progress("putting layers together", done, packed.size)
    except DAMAGED:
        raise ConfigError(f"{where}: damaged: a layer ends in the middle of a file") from None
    file.flush()


def _member(path: str, inode: Inode) -> tarfile.TarInfo:
    """A file as the archive has it: with numbers for names, and nothing that means something elsewhere only."""
    member = copy.copy(inode.member)
    member.name = path or "."
    member.pax_headers = {"mtime": _time(inode.member)}
    # Linux has a user's attributes of files and directories alone.
    has_users = member.isreg() or member.isdir()
    for name, value in inode.attributes.items():
        if has_users or not name.startswith("user."):
            member.pax_headers[XATTR + name] = value.decode("utf-8", "surrogateescape")
    member.mtime = 0
    member.uname = member.gname = ""
    member.mode &= 0o7777
    member.sparse = None
    if member.isreg():
        member.type = tarfile.REGTYPE
    else:
        member.size = 0
    return member


def _time(member: tarfile.TarInfo) -> str:
    """When a file was changed, as a pax header has it: all digits that were said, and not as a number of floating point
    that has lost the last of them."""
    said = member.pax_headers.get("mtime", "")
    found = re.fullmatch(r"(-?\d{1,12})(\.\d{1,30})?", said, re.ASCII)
    whole, rest = (int(found[1]), found[2] or "") if found else (int(member.mtime), "")
    nearest = min(max(whole, _TIMES[0]), _TIMES[-1])
    return f"{nearest}{rest[:10] if nearest == whole else ''}"


def _tools(client: PackageClient, cache: Cache) -> dict[str, bytes]:
    """The programs that make a file system, and unpack onto it what busybox's tar would leave out."""
    with cache.locked("packages"):
        directory = cache.path("packages", "partial").parent
        packages = [read_package(path) for path in client.fetch_system(("e2fsprogs", "tar"), directory)]
    return tool_files(packages, "e2fsprogs", ("mke2fs", "mke2fs.conf")) | tool_files(packages, "tar", ("tar",))
