"""A kernel of the operator's own: where it is, and what its guest will lack without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xenia.errors import ConfigError
from xenia.toolstack.provision.kernels import Kernel
from xenia.toolstack.provision.module_tree import has_driver, release_of

BZIMAGE = "arch/x86/boot/bzImage"
_BUILT = (BZIMAGE, "vmlinux")  # in a build tree, what is preferred first


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


def what_is_missing(image: Path, raw: memoryview, kernel: Kernel | None, needed: Sequence[Driver]) -> str | None:
    """One line about what the guest of such a kernel will not have, because a driver is neither built in nor among its
    modules; None where it has all that is needed.  Without any modules, the line names whatever it will not have."""
    infos = kernel.module_infos() if kernel is not None else {}

    def lacks(driver: Driver) -> bool:
        return driver.module.replace("-", "_") not in infos and not has_driver(raw, driver.word)

    if not any(map(lacks, needed)):
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
