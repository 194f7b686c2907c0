"""Kernels and tools to boot guests from, kept in the cache: Debian's (or Ubuntu's) kernels, and a static busybox."""

import hashlib
import json
import mmap
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from xenia.domain.build.bzimage import MAX_IMAGE, Packing, read_kernel_file, unpack
from xenia.domain.build.image_file import read_image
from xenia.errors import ConfigError
from xenia.toolstack.provision.cache import Cache, Progress, no_progress
from xenia.toolstack.provision.deb import read_deb
from xenia.toolstack.provision.modules import (
    GUEST_MODULES,
    SUFFIXES,
    ModuleInfo,
    load_order,
    module_name,
    read_modinfo,
    unpack_module,
)
from xenia.toolstack.provision.packages import Package, PackageClient

# Which package leads to the newest kernel of a flavour: Debian's name, then Ubuntu's.
FLAVOURS = {
    "amd64": ("linux-image-amd64", "linux-image-generic"),
    "cloud-amd64": ("linux-image-cloud-amd64", "linux-image-virtual"),
}
_PAGE = 4096
_WANTED = "wanted-modules"  # in a kernel's directory: which modules it was unpacked for


@dataclass(frozen=True)
class Kernel:
    """A kernel in the cache.

    release    its uname -r
    image      the kernel file as packaged (vmlinuz)
    config     its build configuration, if the package has it
    modules    directory of those modules that guests may want, unpacked, flat (GUEST_MODULES and what they depend on)
    """

    release: str
    image: Path
    config: Path | None
    modules: Path

    def module_infos(self) -> dict[str, ModuleInfo]:
        """What the modules at hand say, by normalised name."""
        infos = [read_modinfo(path.read_bytes(), path.name) for path in sorted(self.modules.glob("*.ko"))]
        return {info.name: info for info in infos}


class Kernels:
    """The kernels of the cache; those missing are fetched."""

    def __init__(self, cache: Cache, client: PackageClient, progress: Progress = no_progress) -> None:
        self._cache = cache
        self._client = client
        self._progress = progress

    def cached(self) -> list[Kernel]:
        """All kernels in the cache."""
        directory = self._cache.root / "kernels"
        return [_kernel(path) for path in sorted(directory.glob("*/vmlinuz"))]

    def get(self, flavour: str = "amd64", *, update: bool = False) -> Kernel:
        """The kernel of a flavour: the cached one, else (or with `update`) the newest the package sources have."""
        if flavour not in FLAVOURS:
            raise ConfigError(f"no kernel flavour {flavour!r}; there are {', '.join(FLAVOURS)}")
        marker = self._cache.path("kernels", f"{flavour}.json")
        kernel = None if update else self._marked(marker)
        if kernel is not None:
            return kernel
        with self._cache.locked("kernels"):
            kernel = None if update else self._marked(marker)  # someone else may have fetched it meanwhile
            if kernel is not None:
                return kernel
            kernel = self._fetch(flavour)
            with self._cache.new_file(marker) as path:
                path.write_text(json.dumps({"release": kernel.release}))
            return kernel

    def _marked(self, marker: Path) -> Kernel | None:
        try:
            release = json.loads(marker.read_text())["release"]
            return _kernel(marker.parent / release / "vmlinuz") if _is_whole(marker.parent / release) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _fetch(self, flavour: str) -> Kernel:
        packages = [self._client.find(FLAVOURS[flavour])]
        while not packages[-1].name.removeprefix("linux-image-").removeprefix("unsigned-")[:1].isdigit():
            names = [name for name in packages[-1].depends if name.startswith("linux-image-")]
            if not names or len(packages) > 4:
                raise ConfigError(f"package {packages[-1].name} leads to no kernel")
            packages.append(self._client.find(names[:1]))
        image = packages[-1]
        parts = [image, *(self._client.find([name]) for name in image.depends if name.startswith("linux-modules-"))]
        release = image.name.removeprefix("linux-image-").removeprefix("unsigned-")
        target = self._cache.path("kernels", release)
        if not _is_whole(target):
            with self._cache.new_directory(target) as directory:
                self._unpack_packages(parts, directory)
                if not (directory / "vmlinuz").exists():
                    raise ConfigError(f"package {image.name} has no kernel in it")
                (directory / _WANTED).write_text(_wanted_modules())
        return _kernel(target / "vmlinuz")

    def _unpack_packages(self, packages: Iterable[Package], directory: Path) -> None:
        """Take the kernel and the modules guests may want; which those are is known when all have been seen."""
        modules = directory / "modules"
        modules.mkdir()
        infos: dict[str, ModuleInfo] = {}
        with tempfile.TemporaryDirectory(prefix=".modules.", dir=directory) as scratch:
            for package in packages:
                deb = self._client.download(package, Path(scratch))
                for member, contents in read_deb(deb, self._progress):
                    if contents is None:
                        continue
                    name = member.name.removeprefix("./").removeprefix("usr/")
                    if name.startswith("boot/vmlinuz-"):
                        (directory / "vmlinuz").write_bytes(contents.read())
                    elif name.startswith("boot/config-"):
                        (directory / "config").write_bytes(contents.read())
                    elif name.startswith("lib/modules/") and name.endswith(SUFFIXES):
                        data = unpack_module(contents.read(), name)
                        info = read_modinfo(data, name)
                        infos[info.name] = info
                        Path(scratch, f"{info.name}.ko").write_bytes(data)
                deb.unlink()
            wanted = [name for name in GUEST_MODULES if module_name(name) in infos]
            for name in load_order(wanted, infos):
                Path(scratch, f"{name}.ko").rename(modules / f"{name}.ko")

    def busybox(self) -> Path:
        """A static x86-64 busybox: the cached one, else the distribution's."""
        target = self._cache.path("busybox")
        if target.exists():
            return target
        with self._cache.locked("busybox"):
            if not target.exists():
                with tempfile.TemporaryDirectory(prefix=".busybox.", dir=target.parent) as scratch:
                    deb = self._client.download(self._client.find(["busybox-static"]), Path(scratch))
                    self._take_busybox(deb, target)
        return target

    def _take_busybox(self, deb: Path, target: Path) -> None:
        for member, contents in read_deb(deb, self._progress):
            if contents is not None and member.name.removeprefix("./").removeprefix("usr/") == "bin/busybox":
                with self._cache.new_file(target) as path:
                    path.write_bytes(contents.read())
                return
        raise ConfigError(f"package {deb.name} has no busybox in it")


def _wanted_modules() -> str:
    return "\n".join(GUEST_MODULES)


def _is_whole(directory: Path) -> bool:
    """Whether a kernel's directory has all that would be unpacked today, and perhaps more."""
    try:
        looked_for = {*map(module_name, (directory / _WANTED).read_text().split())}
        at_hand = {path.stem for path in (directory / "modules").glob("*.ko")}
        return (directory / "vmlinuz").exists() and {*map(module_name, GUEST_MODULES)} <= looked_for | at_hand
    except OSError:
        return False


def _kernel(image: Path) -> Kernel:
    if not image.exists():
        raise FileNotFoundError(image)
    config = image.parent / "config"
    return Kernel(image.parent.name, image, config if config.exists() else None, image.parent / "modules")


def unpacked_image(path: Path, cache: Cache) -> memoryview:
    """The ELF image in a kernel file.  Unpacking takes a second, so it is kept in the cache, by the file's contents."""
    data = read_image(path, MAX_IMAGE)
    file = read_kernel_file(data, str(path))
    if file.packing is Packing.NONE:
        return memoryview(unpack(file, str(path)))
    target = cache.path("images", hashlib.sha256(data).hexdigest())
    if not target.exists():
        image = memoryview(unpack(file, str(path)))
        with cache.new_file(target) as new:
            _write_sparse(new, image)
    with target.open("rb") as stored:
        return memoryview(mmap.mmap(stored.fileno(), 0, access=mmap.ACCESS_READ))


def _write_sparse(path: Path, image: memoryview) -> None:
    """Write a file with holes for its pages of zeros; a kernel image has many."""
    zeros = bytes(_PAGE)
    with path.open("wb") as file:
        for at in range(0, len(image), _PAGE):
            page = bytes(image[at : at + _PAGE])
            if page == zeros:
                file.seek(_PAGE, 1)
            else:
                file.write(page)
        file.truncate(len(image))
