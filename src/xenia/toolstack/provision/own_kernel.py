"""A kernel of the operator's own: where it is, and what its guest will lack without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xenia.errors import ConfigError
from xenia.toolstack.config.share import ShareConfig
from xenia.toolstack.provision.kernels import Kernel
from xenia.toolstack.provision.module_tree import RELEASE, built_modules, has_driver, release_of

BZIMAGE = "arch/x86/boot/bzImage"
_BUILT = (BZIMAGE, "vmlinux")  # in a build tree, what is preferred first

_OF_TREE = (("CONFIG_9P_FS", "9p"), ("CONFIG_NET_9P", "9pnet"), ("CONFIG_NET_9P_XEN", "9pnet_xen"))


@dataclass(frozen=True)
class Driver:
    """A driver that guests use: its module, a word that a kernel has in it that brings it along, and what it gives."""

    module: str
    word: str
    what: str


DISKS = Driver("xen-blkfront", "blkfront", "disk")
CARDS = Driver("xen-netfront", "netfront", "network card")
FOLDERS = Driver("9pnet_xen", "9pfs", "host folder")


def is_built_tree(directory: Path) -> bool:
    """Whether a kernel was built in this directory."""
    return (directory / BZIMAGE).is_file() and (directory / "include/config/kernel.release").is_file()


def tree_image(directory: Path) -> Path:
    """The kernel that was built in a directory.  ConfigError where there is none."""
    for name in _BUILT:
        if (directory / name).is_file():
            return directory / name
    if not directory.is_dir():
        raise ConfigError(f"--kdir {directory}: there is no such folder")
    raise ConfigError(
        f"--kdir {directory}: no kernel was built here, for there is no {BZIMAGE} ('make bzImage modules')"
    )


def tree_share(directory: Path) -> ShareConfig | None:
    """The tree that a kernel was built in, where its guest looks for it, to be read only; None where the kernel has no
    client for such folders."""
    try:
        words = set((directory / "include/config/auto.conf").read_text().split())
        release = (directory / "include/config/kernel.release").read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    modules = built_modules(directory)
    has_all = all(f"{word}=y" in words or module in modules for word, module in _OF_TREE)
    if not has_all or not RELEASE.fullmatch(release):
        return None
    return ShareConfig(str(directory.resolve()), mount=tree_place(release), read_only=True)


def tree_place(release: str) -> str:
    """Where a guest has the tree that its kernel was built in."""
    return f"/lib/modules/{release}/build"


def what_is_missing(image: Path, raw: memoryview, kernel: Kernel | None, needed: Sequence[Driver]) -> str | None:
    """One line about what the guest of such a kernel will not have, because a driver is neither built in nor among its
    modules; None where it has all that is needed.  Without any modules, the line names whatever it will not have, also
    where nothing is needed yet: a guest that runs may be given a disk."""
    infos = kernel.module_infos() if kernel is not None else {}

    def lacks(driver: Driver) -> bool:
        return driver.module.replace("-", "_") not in infos and not has_driver(raw, driver.word)

    if not any(map(lacks, needed if kernel is not None else (DISKS, CARDS))):
        return None
    missing = list(filter(lacks, needed if kernel is not None else (DISKS, CARDS, FOLDERS)))
    modules, things = (_listed([getattr(driver, name) for driver in missing]) for name in ("module", "what"))
    called = release_of(raw) or image
    if kernel is not None:
        return f"the kernel {called} has no {modules}, built in or as a module: the guest will have no {things}"
    return (
        f"no module {modules} for the kernel {called} is beside it or in /lib/modules: the guest will have no "
        f"{things}; --modules DIR names where they are"
    )


def _listed(words: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))
