"""The initial RAM disk of a Linux guest: busybox, the agent as /init, and kernel modules; then what this run is told.

It is two archives, one behind the other.  The first depends on nothing but what is in it and is kept in the cache by
the digest of that; the second, made for each run, is a file or two with the run's configuration.  Neither is packed:
at two megabytes that makes no difference to a boot that could be measured, and it spares the guest work.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xenia.agent import build
from xenia.agent.config import CONFIG_NAME, AgentConfig
from xenia.agent.pairs import SEARCH_PATH
from xenia.errors import ConfigError
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.provision.cpio import CpioArchive, last_file
from xenia.toolstack.provision.kernels import Kernel
from xenia.toolstack.provision.modules import ModuleInfo, load_order, modules_alias, modules_dep

FRONTENDS = ("xen-blkfront", "xen-netfront")
# What commands share memory with the host by.
SHARING = ("xen-evtchn", "xen-gntalloc")
# What a folder of the host's is mounted with, and what lays one in memory over it.
OF_SHARES, OF_COPIES = ("9p", "9pnet_xen"), ("overlay",)
# What modules are told.  blkfront: requests of 1 MB instead of 128 KB, so that there are fewer for the same data.
MODULE_OPTIONS = {"xen_blkfront": "max_indirect_segments=256"}
# For a guest with disks, in the order in which `mount` tries them when it is told none.  They are loaded when something
# is mounted: all of them at every boot would take a second.
ON_DISKS = ("ext4", "xfs", "btrfs", "vfat", "isofs", "squashfs", "ntfs3", "exfat", "erofs", "ufs")
FILE_SYSTEMS = (*ON_DISKS, "fuse", "nls_cp437", "nls_ascii", "nls_iso8859-1")

# What `modprobe` finds as well, where there is memory for it.
ON_DEMAND = ("loop", "overlay", "9p", "9pnet_xen", "brd", "dm-mod")

_FORMAT = b"4"  # counts changes of what follows that the digest would not see
_DIRECTORIES = ("bin", "dev", "etc", "lib", "lib/modules", "mnt", "proc", "root", "run", "sys", "tmp", "usr", "var")
_ETC = {
    "passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "group": b"root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    "hosts": b"127.0.0.1 localhost\n::1 localhost\n",
}

ENVIRONMENT: Mapping[str, str] = {
    "HOME": "/root", "USER": "root", "LOGNAME": "root", "SHELL": "/bin/sh",
    "PATH": SEARCH_PATH,
}  # fmt: skip
"""What a program in the guest finds in its environment, but for TERM."""


@dataclass(frozen=True)
class Base:
    """The part of an initial RAM disk that does not change from run to run.

    modules    paths in it of the modules to load at boot, each after those it depends on, with their options; it may
               carry more
    """

    data: bytes
    modules: tuple[str, ...]


def agent_binary(
    cache: Cache, packaged: Path | None = None, compile_agent: Callable[[Path], None] = build.compile_agent
) -> bytes:
    """The agent: as it came with the package (None: beside its source), or compiled here and kept in the cache."""
    path = packaged if packaged is not None else build.beside_source()
    if not path.exists():
        path = cache.path("agent", build.binary_name())
    if not path.exists():
        with cache.new_file(path) as new:
            try:
                compile_agent(new)
            except build.CannotCompile as reason:
                raise ConfigError(str(reason)) from None
    return path.read_bytes()


def busybox_applets(data: bytes) -> list[str]:
    """The applets in a busybox binary, from the table of names in it (its own --list needs a host that can run it)."""
    start = data.find(b"\0[\0[[\0") + 1
    end = data.find(b"\0\0", start)
    names = data[start:end].split(b"\0") if start and end > start else []
    if b"sh" not in names:
        raise ConfigError("this busybox is unusable: no shell among its applets")
    return [name.decode("ascii") for name in names]


def base_initramfs(
    cache: Cache,
    busybox: Path,
    kernel: Kernel | None,
    modules: Sequence[str] = FRONTENDS,
    on_demand: Sequence[str] | None = (),
    *,
    elsewhere: Mapping[str, ModuleInfo] | None = None,
    agent: bytes | None = None,
) -> Base:
    """The unchanging part, with these modules of the kernel (but for those that it has not, or built in) and their
    dependencies.  Those `on_demand` (None: all that there are) the guest's kernel asks modprobe for, by their aliases,
    when it needs them.

    elsewhere   modules that modprobe finds too, and that will be there by other means: by path below the kernel's
    agent       the program that becomes process 1; None: Xenia's own
    """
    infos = kernel.module_infos() if kernel is not None else {}

    def paths_of(wanted: Sequence[str]) -> tuple[str, ...]:
        names = load_order([name for name in wanted if name.replace("-", "_") in infos], infos)
        return tuple(f"/lib/modules/{release}/{name}.ko" for name in names)

    release = kernel.release if kernel is not None else ""
    paths = paths_of((*modules, *(infos if on_demand is None else on_demand)))
    agent, tools = agent if agent is not None else agent_binary(cache), busybox.read_bytes()
    digest = hashlib.sha256(_FORMAT)
    for part in (agent, tools, release.encode(), *(path.encode() for path in paths)):
        digest.update(len(part).to_bytes(8, "little") + part)
    if elsewhere:
        digest.update(repr(sorted(elsewhere.items())).encode())
    target = cache.path("initramfs", _base_name(release, digest.hexdigest()))
    if not target.exists():
        files = {path: (kernel.modules / Path(path).name).read_bytes() for path in paths} if kernel is not None else {}
        with cache.new_file(target) as new:
            new.write_bytes(_build_base(agent, tools, release, files, infos, elsewhere or {}))
    return Base(target.read_bytes(), tuple(_with_options(path) for path in paths_of(modules)))


def _base_name(release: str, digest: str) -> str:
    """What the cache calls it: who removes a kernel finds by this what was made of it."""
    return f"{release}.{digest}" if re.fullmatch(r"\w[\w.+~-]{0,63}", release, re.ASCII) else digest


def _with_options(path: str) -> str:
    options = MODULE_OPTIONS.get(Path(path).stem)
    return f"{path} {options}" if options else path


def _build_base(
    agent: bytes, busybox: bytes, release: str, modules: Mapping[str, bytes], infos: Mapping[str, ModuleInfo],
    elsewhere: Mapping[str, ModuleInfo],
) -> bytes:  # fmt: skip
    archive = CpioArchive()
    for path in _DIRECTORIES:
        archive.directory(path, 0o1777 if path == "tmp" else 0o700 if path == "root" else 0o755)
    for link, target in (("sbin", "bin"), ("usr/bin", "../bin"), ("usr/sbin", "../bin"), ("usr/lib", "../lib")):
        archive.symlink(link, target)
    archive.character_device("dev/console", 5, 1)
    archive.character_device("dev/null", 1, 3, 0o666)
    archive.file("init", agent, 0o755)
    archive.file("bin/busybox", busybox, 0o755)
    for applet in busybox_applets(busybox):
        if applet != "busybox":
            archive.symlink(f"bin/{applet}", "busybox")
    names = {path.removeprefix(f"/lib/modules/{release}/"): infos[Path(path).stem] for path in modules}
    # Others would take any disk for theirs: what they mount is not on it.
    file_systems = [
        alias.removeprefix("fs-")
        for info in names.values()
        for alias in info.aliases
        if info.name in ON_DISKS and alias.startswith("fs-")
    ]
    for name, data in {**_ETC, "filesystems": "".join(f"{name}\n" for name in file_systems).encode()}.items():
        archive.file(f"etc/{name}", data)
    if modules or elsewhere:
        archive.directory(f"lib/modules/{release}")
        for path, data in modules.items():
            archive.file(path, data)
        known = {**names, **elsewhere}
        archive.file(f"lib/modules/{release}/modules.dep", modules_dep(known))
        archive.file(f"lib/modules/{release}/modules.alias", modules_alias(known.values()))
    return archive.finish()


def initramfs(base: Base, config: AgentConfig, files: Mapping[str, bytes] | None = None) -> bytes:
    """The whole RAM disk for one run; `files` are further files by absolute path."""
    archive = CpioArchive()
    archive.file(CONFIG_NAME, config.encode(), 0o600)
    directories = {path.strip("/").rpartition("/")[0] for path in files or {}} - {"", *_DIRECTORIES}
    for path in sorted(directories):
        archive.directory(path)
    for path, data in (files or {}).items():
        archive.file(path, data, 0o755)
    return base.data + archive.finish()


def with_mounts(ramdisk: bytes, words: Mapping[str, str]) -> bytes:
    """The same for a guest that has other folders by now than when it was made: `words` is what the agent is told of
    each, by its tag.  Those that it was not told of then it begins without, too.  One without Xenia's agent stays."""
    told = last_file(ramdisk, CONFIG_NAME)
    if told is None:
        return ramdisk
    pairs = [pair for pair in told.split(b"\0") if pair]
    old = {
        pair.removeprefix(b"share=").partition(b":")[0].decode(): pair for pair in pairs if pair.startswith(b"share=")
    }
    new = [f"share=+{word}".encode("utf-8", "surrogateescape") for tag, word in words.items() if tag not in old]
    gone = [pair for tag, pair in old.items() if tag not in words]
    if not new and not gone:
        return ramdisk
    archive = CpioArchive()
    archive.file(
        CONFIG_NAME, b"".join(pair + b"\0" for pair in (*(pair for pair in pairs if pair not in gone), *new)), 0o600
    )
    return ramdisk + archive.finish()
