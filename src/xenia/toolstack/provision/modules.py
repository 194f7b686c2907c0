"""Kernel modules, and what they say about themselves: a module's .modinfo section names what it depends on."""

import lzma
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import zstandard

from xenia.domain.build.elf import ElfFile
from xenia.errors import ConfigError

MAX_MODULE = 256 << 20
DECODER_MEMORY = 128 << 20  # bytes that what a module is packed with may ask for
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,+-]*")
SUFFIXES = (".ko", ".ko.xz", ".ko.zst", ".ko.gz")

# What a PV guest may want of a distribution's kernel that is not built in: the frontends, and the backends of a driver
# domain; file systems to mount and what they stand on; what systemd asks for; networks within a guest.
GUEST_MODULES = (
    "xen-blkfront", "xen-netfront", "xen-blkback", "xen-netback", "xen-evtchn", "xen-gntalloc", "9pnet_xen", "9p",
    "af_packet", "ext4", "btrfs", "xfs", "ntfs3", "ufs", "squashfs", "erofs", "isofs", "vfat", "exfat", "overlay",
    "fuse", "nls_ascii", "nls_cp437", "nls_iso8859-1", "loop", "brd", "dm-mod", "dm-crypt", "autofs4",
    "configfs", "binfmt_misc", "bridge", "8021q", "tun", "veth",
)  # fmt: skip


@dataclass(frozen=True)
class ModuleInfo:
    """What a module's .modinfo says.  Names have underscores for dashes; `softdeps` are those to load before it."""

    name: str
    depends: tuple[str, ...]
    softdeps: tuple[str, ...]
    aliases: tuple[str, ...]
    vermagic: str


def module_name(path: str | Path) -> str:
    """A module's name from its file's: xen-blkfront.ko.xz is xen_blkfront."""
    return Path(path).name.split(".ko", 1)[0].replace("-", "_")


def unpack_module(data: bytes, name: str) -> bytes:
    """The ELF file of a module that may be packed; ConfigError if it is damaged or too large."""
    try:
        if data.startswith(b"\xfd7zXZ\0"):
            data = lzma.LZMADecompressor(lzma.FORMAT_XZ, DECODER_MEMORY).decompress(data, MAX_MODULE)
        elif data.startswith(b"\x28\xb5\x2f\xfd"):
            data = zstandard.ZstdDecompressor(max_window_size=DECODER_MEMORY).stream_reader(data).read(MAX_MODULE)
        elif data.startswith(b"\x1f\x8b"):
            data = zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(data, MAX_MODULE)
    except (lzma.LZMAError, zstandard.ZstdError, zlib.error) as error:
        raise ConfigError(f"{name}: damaged module ({error})") from None
    return data


def read_modinfo(data: bytes | memoryview, name: str) -> ModuleInfo:
    """What the module in an (unpacked) ELF file says about itself."""
    fields: dict[str, list[str]] = {}
    for section in ElfFile(data, name).sections():
        if section.name == ".modinfo":
            for pair in bytes(section.data).decode("utf-8", "replace").split("\0"):
                key, separator, value = pair.partition("=")
                if separator:
                    fields.setdefault(key, []).append(value)
    if not fields:
        raise ConfigError(f"{name}: not a kernel module (it has no .modinfo)")
    depends = [_normal(text) for value in fields.get("depends", []) for text in value.split(",") if text]
    softdeps = [_normal(text) for value in fields.get("softdep", []) for text in _before(value)]
    own_name = fields["name"][0] if "name" in fields else module_name(name)
    for text in (own_name, *depends):  # they become names of files, and words of modules.dep
        if not _NAME.fullmatch(text):
            raise ConfigError(f"{name}: {text[:40]!r} is no name of a kernel module")
    aliases, vermagic = fields.get("alias", []), fields.get("vermagic", [""])[0]
    return ModuleInfo(
        _normal(own_name),
        tuple(depends),
        tuple(softdeps),
        tuple(alias for alias in aliases if alias.isprintable()),
        vermagic,
    )


def _before(softdep: str) -> list[str]:
    """The names behind "pre:" in a softdep such as "pre: crc32c post: foo"."""
    names: list[str] = []
    taking = False
    for word in softdep.split():
        if word.endswith(":"):
            taking = word == "pre:"
        elif taking:
            names.append(word)
    return names


def _normal(name: str) -> str:
    return name.strip().replace("-", "_")


def aliases_of(infos: Mapping[str, ModuleInfo]) -> dict[str, str]:
    """Which module answers to an alias."""
    by_alias: dict[str, str] = {}
    for info in infos.values():
        for alias in info.aliases:
            by_alias.setdefault(_normal(alias), info.name)
    return by_alias


def modules_dep(modules: Mapping[str, ModuleInfo]) -> bytes:
    """The list that busybox's modprobe reads, of modules by their paths below the kernel's: each with all it depends
    on, nearest first."""
    places = {info.name: path for path, info in modules.items()}
    infos = {info.name: info for info in modules.values()}
    aliases = aliases_of(infos)
    lines = []
    for name in infos:
        *before, own = load_order([name], infos, aliases)
        lines.append(f"{places[own]}:" + "".join(f" {places[one]}" for one in reversed(before)))
    return "".join(f"{line}\n" for line in lines).encode()


def modules_alias(modules: Iterable[ModuleInfo]) -> bytes:
    """And the one of who answers to what."""
    return "".join(f"alias {alias} {info.name}\n" for info in modules for alias in info.aliases).encode()


def load_order(
    wanted: Iterable[str], infos: Mapping[str, ModuleInfo], aliases: Mapping[str, str] | None = None
) -> list[str]:
    """The wanted modules and all they depend on, each after what it needs.  `infos` is by normalised name.

    A softdep may be an alias (crypto-crc32c), or built in: it is followed where a module answers to it.  ConfigError if
    a module that is wanted or depended on does not exist.

    aliases   what `aliases_of` says of them, for who asks often
    """
    by_alias = aliases_of(infos) if aliases is None else aliases
    order: dict[str, None] = {}
    visiting: set[str] = set()

    def visit(name: str, needed_by: str) -> None:
        if name in order or name in visiting:
            return
        if name not in infos:
            raise ConfigError(f"no kernel module {name}" + (f", which {needed_by} depends on" if needed_by else ""))
        visiting.add(name)
        for dependency in infos[name].softdeps:
            target = dependency if dependency in infos else by_alias.get(dependency)
            if target is not None:
                visit(target, name)
        for dependency in infos[name].depends:
            visit(dependency, name)
        visiting.discard(name)
        order[name] = None

    for name in wanted:
        visit(_normal(name), "")
    return list(order)
