"""What a kernel file is, and whether and how it can run as a PV guest."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from xenia.domain.build.bzimage import MAX_IMAGE, KernelFile, read_kernel_file, unpack
from xenia.domain.build.elf import ElfFile, load_elf, read_notes, why_not_pv
from xenia.domain.build.image_file import read_image
from xenia.domain.build.notes import KernelNotes
from xenia.domain.build.start_of_day import PAGE_SIZE, smallest_memory
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.provision.kernels import unpacked_image
from xenia.toolstack.provision.modules import SUFFIXES, module_name


class Driver(StrEnum):
    """How a kernel comes by a driver."""

    BUILT_IN = "built in"
    MODULE = "module"
    ABSENT = "absent"
    UNKNOWN = "unknown"


# What a guest of Xenia's uses: the driver, its option in the kernel's configuration, and what for.
DRIVERS = (
    ("hvc_xen", "CONFIG_HVC_XEN", "console"),
    ("xen-blkfront", "CONFIG_XEN_BLKDEV_FRONTEND", "disks"),
)


@dataclass(frozen=True)
class Inspection:
    """What there is to know of a kernel file.  Sizes are in bytes, addresses virtual.

    image_size       the ELF image, unpacked
    release          its uname -r, "" if it does not say
    pv_reason        why it cannot run as a PV guest, None if it can; what follows is only known if it can
    memory_needed    the least memory a domain needs to start it, without a RAM disk
    drivers          the drivers a guest uses, and how this kernel comes by them
    """

    path: str
    file_size: int
    container: str
    packing: str
    payload_size: int
    image_size: int
    version: str
    release: str
    pv_reason: str | None
    notes: KernelNotes | None
    virt_base: int | None
    start: int | None
    end: int | None
    entry: int | None
    memory_needed: int | None
    drivers: Mapping[str, Driver]

    @property
    def pv_capable(self) -> bool:
        """Whether it can run as a PV guest."""
        return self.pv_reason is None

    def as_dict(self) -> dict[str, Any]:
        """The same in types that JSON knows."""
        result = asdict(self) | {"pv_capable": self.pv_capable}
        if self.notes is not None:
            result["notes"]["required"] = sorted(self.notes.required)
            result["notes"]["supported"] = sorted(self.notes.supported)
            result["notes"]["l1_mfn_valid"] = [list(pair) for pair in self.notes.l1_mfn_valid]
        return result


def inspect_kernel(path: Path, *, modules: Path | None = None, cache: Cache | None = None) -> Inspection:
    """Look into a kernel file; ConfigError if it is none, or damaged.

    `modules` is where its modules are, by default where its distribution or Xenia's cache puts them.  With a cache the
    unpacked image is taken from there, or left there.
    """
    data = read_image(path, MAX_IMAGE)
    file = read_kernel_file(data, str(path))
    image = memoryview(unpack(file, str(path))) if cache is None else unpacked_image(path, cache)
    version = file.version or _version_in(image)
    release = version.split(" ", 1)[0]
    reason = why_not_pv(image, str(path))
    return Inspection(
        path=str(path),
        file_size=len(data),
        container=file.container,
        packing=file.packing.value,
        payload_size=len(file.payload),
        image_size=len(image),
        version=version,
        release=release,
        pv_reason=reason,
        drivers=_drivers(path, release, modules),
        **_when_loaded(image, file, path, reason),
    )


def _when_loaded(image: memoryview, file: KernelFile, path: Path, reason: str | None) -> dict[str, Any]:
    if reason is not None:
        notes = read_notes(ElfFile(image, str(path))) if image[4] == 2 else None
        return {"notes": notes} | dict.fromkeys(("virt_base", "start", "end", "entry", "memory_needed"))
    kernel = load_elf(image, str(path))
    return {
        "notes": kernel.notes,
        "virt_base": kernel.virt_base,
        "start": kernel.start,
        "end": kernel.end,
        "entry": kernel.entry,
        "memory_needed": smallest_memory(kernel, 0) * PAGE_SIZE,
    }


def _version_in(image: memoryview) -> str:
    """The version a bare Linux image carries in its banner, "" if it has none."""
    banner = re.search(rb"Linux version ([^\0\n%]{1,300})", image)
    return banner[1].decode("ascii", "replace") if banner else ""


def _drivers(path: Path, release: str, modules: Path | None) -> dict[str, Driver]:
    config = _first_text([path.with_name("config"), path.with_name(f"config-{release}")])
    options = dict(re.findall(r"^(CONFIG_\w+)=([ym])$", config, re.MULTILINE))
    available = _module_names(modules, path, release)
    result = {}
    for name, option, _ in DRIVERS:
        if module_name(name) in available:
            result[name] = Driver.MODULE
        elif options:
            result[name] = {"y": Driver.BUILT_IN, "m": Driver.MODULE}.get(options.get(option, ""), Driver.ABSENT)
        else:
            result[name] = Driver.UNKNOWN
    return result


def _module_names(modules: Path | None, path: Path, release: str) -> set[str]:
    candidates = [path.with_name("modules")]
    if release:
        candidates += [path.parent.parent / "lib" / "modules" / release, Path("/lib/modules", release)]
    for directory in candidates if modules is None else [modules]:
        if directory.is_dir():
            return {module_name(file) for file in directory.rglob("*.ko*") if file.name.endswith(SUFFIXES)}
    return set()


def _first_text(paths: list[Path]) -> str:
    for path in paths:
        try:
            return path.read_text(errors="replace")
        except OSError:
            continue
    return ""
