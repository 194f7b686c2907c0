"""What to boot: a kernel, an initial RAM disk and a command line, found or made as the configuration asks."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Protocol

from xenia.agent.config import AgentConfig, Mode
from xenia.domain.build.elf import ElfKernel, load_elf
from xenia.domain.build.image_file import read_image
from xenia.errors import ConfigError
from xenia.guests import embedded
from xenia.toolstack.config.choices import DEMO
from xenia.toolstack.config.machine import MIB, MachineConfig, format_size
from xenia.toolstack.config.share import ShareConfig, written
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.provision.initramfs import (
    ENVIRONMENT,
    FILE_SYSTEMS,
    FRONTENDS,
    OF_COPIES,
    OF_SHARES,
    ON_DEMAND,
    SHARING,
    base_initramfs,
    initramfs,
)
from xenia.toolstack.provision.kernels import USUAL, Kernel, Kernels, unpacked
from xenia.toolstack.provision.module_tree import find_modules, has_driver, left_in_tree, release_of
from xenia.toolstack.provision.modules import ModuleInfo
from xenia.toolstack.provision.own_kernel import CARDS, DISKS, tree_place, what_is_missing
from xenia.toolstack.provision.packages import PackageClient
from xenia.toolstack.provision.release import Release

# What every Linux guest is told.
COMMAND_LINE = ("console=hvc0",)
# The names of trace events take 9 MB, of the 19 MB that Debian's kernel leaves free of 64: a guest this small starts
# without them.
SMALL_MEMORY = 96 * MIB
# Of the guest's memory, what all modules of a kernel may take: one part in so many.
MODULES_SHARE = 8
SMALL_COMMAND_LINE = ("initcall_blacklist=tracer_init_tracefs",)


# What a kernel's image has in it where it needs no module for that.
_BUILT_IN = {"9pnet_xen": "xen_9pfs_front", "overlay": "overlayfs: "}


class Words(Protocol):
    """Where news for the operator go."""

    def say(self, text: str) -> None:
        """One line of news."""

    def warn(self, text: str) -> None:
        """One line about what is probably a mistake."""

    def progress(self, what: str, done: int, total: int) -> None:
        """`done` of `total` bytes of `what`; total 0 when it is not known."""

    def busy(self, what: str) -> None:
        """Show, on a terminal only and until the next word, what is being waited for."""

    def clear(self) -> None:
        """Take away what `busy` or `progress` shows."""


@dataclass(frozen=True)
class Screen:
    """The terminal that shows the guest's console."""

    term: str
    rows: int
    columns: int


@dataclass(frozen=True)
class Boot:
    """A kernel, resolved for loading or its bytes; its RAM disk, and its command line.

    is_demo       whether it is the guest that is built in, which has no use for a network card
    kernel_file   where another process gets the kernel from, and what the cache keeps while someone holds it; None:
                  nowhere
    """

    kernel: ElfKernel | bytes
    ramdisk: bytes
    command_line: str
    is_demo: bool = False
    kernel_file: Path | None = None


def prepare(config: MachineConfig, words: Words, *, screen: Screen | None = None, quiet: bool = False) -> Boot:
    """Find the kernel and the RAM disk for `config`; fetch and make what is missing.

    `screen` None: nobody looks at the console as at a screen.  `quiet`: the kernel keeps its news to itself.
    ConfigError: there is no such kernel or file, or it cannot boot, or it cannot be fetched.
    """
    cache = Cache()
    kernels = Kernels(cache, PackageClient(cache, words.progress), words.progress)
    kernel = _packaged_kernel(config, kernels, words)
    if kernel is None and (config.kernel is None or config.is_demo):
        return _demo(config)
    image = kernel.image if kernel is not None else Path(config.kernel or "")
    raw, kernel_file = unpacked(image, cache)
    elf = load_elf(raw, str(image))
    words.clear()
    if config.initrd is not None:
        ramdisk = _initrd(Path(config.initrd), config.memory)
    elif elf.notes.guest_os == "linux":
        modules = (*FRONTENDS, *SHARING, *_of_shares(config))
        on_demand = None if _has_room(config) else _file_systems(config)
        if kernel is None or config.modules is not None:
            kernel, on_demand = _own_modules(config, image, raw, words, cache), None
        _check_shares(config, kernel, raw)
        elsewhere = _in_shared_tree(config, kernel)
        base = base_initramfs(cache, kernels.busybox(), kernel, modules, on_demand, elsewhere=elsewhere)
        ramdisk = initramfs(base, _agent_config(config, base.modules, screen))
    else:
        ramdisk = b""
    own_words = _own_words(config, quiet, screen) if elf.notes.guest_os == "linux" else ()
    return Boot(elf, ramdisk, " ".join((*own_words, config.append)).strip(), kernel_file=kernel_file)


def _shares(config: MachineConfig) -> tuple[ShareConfig, ...]:
    return tuple(device for device in config.devices if isinstance(device, ShareConfig))


def _of_shares(config: MachineConfig) -> tuple[str, ...]:
    shares = _shares(config)
    return (OF_SHARES if shares else ()) + (OF_COPIES if any(share.cow for share in shares) else ())


def _check_shares(config: MachineConfig, kernel: Kernel | None, raw: memoryview) -> None:
    """ConfigError where this kernel has not what the guest's shared folders need."""
    known = kernel.module_infos() if kernel is not None and _shares(config) else {}
    for name, what in (("9pnet_xen", "client for shared folders"), ("overlay", "overlayfs, which copies on write")):
        if name in _of_shares(config) and name not in known and not has_driver(raw, _BUILT_IN[name]):
            release = release_of(raw)
            share = next(share for share in _shares(config) if name == "9pnet_xen" or share.cow)
            raise ConfigError(
                f"the kernel {release} has no {what} (module {name}): Debian's flavour amd64 has it"
                + (f", and any kernel can have a copy of the folder on a disk: --share {quote(written(share.path))}:"
                   f"{quote(written(share.mount))}:disk" if share.mount not in (None, "/") else "")
            )  # fmt: skip


def _initrd(path: Path, memory: int) -> bytes:
    with suppress(OSError):
        if path.stat().st_size > memory and path.is_file():
            size = format_size(memory)
            raise ConfigError(f"{path}: larger than the guest's memory of {size}; give it more with --memory")
    return read_image(path, memory)


def _file_systems(config: MachineConfig) -> tuple[str, ...]:
    """Those that the RAM disk carries; all of them take 13 MB.  A guest without disks may get one later."""
    if config.memory < (SMALL_MEMORY if config.disks else 2 * SMALL_MEMORY):
        return FILE_SYSTEMS[:1] if config.disks else ()
    return (*FILE_SYSTEMS, *ON_DEMAND)


def _has_room(config: MachineConfig) -> bool:
    """Whether the guest has memory for all modules that the cache has of a distribution's kernel: 17 MB."""
    return config.memory >= 2 * SMALL_MEMORY


def _own_modules(config: MachineConfig, image: Path, raw: memoryview, words: Words, cache: Cache) -> Kernel | None:
    """The operator's own kernel with its modules; a word where the guest would need one that is not found."""
    named = None if config.modules is None else Path(config.modules)
    wanted = (*FRONTENDS, *SHARING, *_of_shares(config), *_file_systems(config))
    kernel = find_modules(image, release_of(raw), wanted, cache, named, room=config.memory // MODULES_SHARE)
    has_disks = bool(config.disks) or _has_root(config)
    needed = [driver for driver, is_asked_for in ((DISKS, has_disks), (CARDS, config.cards != ())) if is_asked_for]
    missing = what_is_missing(image, raw, kernel, needed)
    if missing is not None:
        (words.warn if has_disks or config.cards else words.say)(missing)
    return kernel


def _in_shared_tree(config: MachineConfig, kernel: Kernel | None) -> dict[str, ModuleInfo]:
    """The modules that the RAM disk has not, and the tree that is shared with the guest has: by path below those of the
    kernel."""
    place = tree_place(kernel.release) if kernel is not None else None
    tree = next((Path(share.path) for share in _shares(config) if share.mount == place), None)
    if kernel is None or tree is None:
        return {}
    left = left_in_tree(tree, kernel.module_infos())
    return {f"{Path(tree_place(kernel.release)).name}/{path}": info for path, info in left.items()}


def _own_words(config: MachineConfig, quiet: bool, screen: Screen | None) -> tuple[str, ...]:
    words = [*COMMAND_LINE]
    if config.memory < SMALL_MEMORY:
        words += SMALL_COMMAND_LINE
    if quiet:
        words.append("quiet")
    if screen is not None and _has_root(config):
        # Init cannot see it: a console has no modem lines.  Newer systemds know these words, and images of ours do.
        words += [f"systemd.tty.rows.hvc0={screen.rows}", f"systemd.tty.columns.hvc0={screen.columns}"]
        if re.fullmatch(r"[\w.+-]+", screen.term):
            words.append(f"systemd.tty.term.hvc0={screen.term}")
    return tuple(words)


def _has_root(config: MachineConfig) -> bool:
    """Whether a disk is to be the guest's root file system."""
    return any(word.lstrip('"').startswith("root=") for word in config.append.split())


def _packaged_kernel(config: MachineConfig, kernels: Kernels, words: Words) -> Kernel | None:
    """The distribution's kernel, where one is asked for.  None where the demo guest has to stand in."""
    if config.is_demo:
        return None
    if config.kernel is not None:
        return kernels.choose(config.kernel, config.flavour) if is_version(config.kernel) else None
    try:
        return kernels.get(config.flavour or USUAL)
    except ConfigError as error:
        # Whoever named a flavour, or wants a command run, is not served by another guest.
        if config.flavour is not None or config.command or config.initrd is not None:
            raise
        words.say(f"{error}; booting the built-in demo guest instead")
        return None


def is_version(kernel: str) -> bool:
    """Whether what an operator calls a kernel is a version of the distribution's, and not a file."""
    return Release.parse(kernel) is not None and not Path(kernel).is_file()


def _demo(config: MachineConfig) -> Boot:
    image = embedded()
    if image is None:
        raise ConfigError(f"the '{DEMO}' guest is missing: building the package found no C compiler for x86-64")
    return Boot(load_elf(image.read_bytes(), DEMO), b"", config.append, is_demo=True, kernel_file=image)


def _agent_config(config: MachineConfig, modules: tuple[str, ...], screen: Screen | None) -> AgentConfig:
    if _has_root(config) and not config.command and (config.environment or config.directory != "/"):
        raise ConfigError("--env and --cwd are for a command: the init of a root disk has its own")
    term = _term() if config.command and screen is None else screen.term if screen is not None else None
    environment = {**ENVIRONMENT, "TERM": term or "dumb"}
    shares = tuple(share.agent_word for share in _shares(config) if share.mount is not None)
    shares += tuple(disk.agent_word for disk in config.disks if disk.mount is not None)
    if config.command:
        mode = Mode.COMMAND if screen is None else Mode.SCREEN
        rows, columns = (screen.rows, screen.columns) if screen is not None else (0, 0)
        return AgentConfig(
            mode, config.command, environment, modules, directory=config.directory, hostname=config.name,
            shares=shares, overrides=config.environment, rows=rows, columns=columns,
        )  # fmt: skip
    if screen is None:
        # Nobody is there to be prompted; and busybox's shell edits lines only on a tty that echoes.
        return AgentConfig(
            args=("/bin/sh", "-c", "stty -echo; exec /bin/sh"),
            environment={"PS1": "", "PS2": "", **environment},
            overrides=config.environment,
            modules=modules,
            directory=config.directory,
            hostname=config.name,
            shares=shares,
        )
    return AgentConfig(
        environment=environment,
        overrides=config.environment,
        modules=modules,
        directory=config.directory,
        hostname=config.name,
        shares=shares,
        rows=screen.rows,
        columns=screen.columns,
        greeting="\nThis is Linux, a guest of Xenia. 'poweroff' or Ctrl-D ends it, Ctrl-] leaves it.\n\n",
    )


def _term() -> str | None:
    """The kind of the operator's terminal, where there is one."""
    return os.environ.get("TERM") if any(os.isatty(descriptor) for descriptor in range(3)) else None


def screen_of(size: tuple[int, int] | None) -> Screen | None:
    """The screen of that many (rows, columns), of the kind that TERM names."""
    return None if size is None else Screen(os.environ.get("TERM", "linux"), *size)
