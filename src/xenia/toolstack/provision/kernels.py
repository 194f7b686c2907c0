"""Kernels and tools to boot guests from, kept in the cache: Debian's (or Ubuntu's) kernels, and a static busybox."""

import hashlib
import json
import mmap
import re
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from pathlib import Path
from typing import IO, TypeVar

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
from xenia.toolstack.provision.release import Release, named, shortest_names

# Which package leads to the newest kernel of a flavour: Debian's name, then Ubuntu's.
FLAVOURS = {
    "amd64": ("linux-image-amd64", "linux-image-generic"),
    "cloud-amd64": ("linux-image-cloud-amd64", "linux-image-virtual"),
}
USUAL = "amd64"  # the flavour that guests are booted from when nothing else is asked for
T = TypeVar("T")
_PAGE = 4096
_WANTED = "wanted-modules"  # in a kernel's directory: which modules it was unpacked for
_PACKAGE = "package"  # and the version of the package that it is from
_BEGINNING = "linux-image-"  # of a kernel's package


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


@dataclass(frozen=True)
class Offer:
    """A kernel that can be booted: one of the cache, of the package sources, or of both.

    package       the version of its package; "" where that is not known
    kernel        the cached one
    disk          bytes that it takes in the cache, with what was made of it; 0 where it is not there
    download      bytes to fetch it; 0 where the package sources do not have it
    is_usual      whether a guest is booted from it when nothing else is asked for
    """

    release: Release
    package: str
    kernel: Kernel | None
    disk: int
    download: int
    is_usual: bool


class Kernels:
    """The kernels of the cache; those missing are fetched."""

    def __init__(self, cache: Cache, client: PackageClient, progress: Progress = no_progress) -> None:
        self._cache = cache
        self._client = client
        self._progress = progress

    def cached(self) -> list[Kernel]:
        """All kernels in the cache."""
        directory = self._cache.root / "kernels"
        return [_kernel(path) for path in sorted(directory.glob("[!.]*/vmlinuz"))]

    def get(self, flavour: str = USUAL) -> Kernel:
        """The kernel of a flavour: the cached one, else the newest that the package sources have."""
        if flavour not in FLAVOURS:
            raise ConfigError(f"no kernel flavour {flavour!r}; there are {', '.join(FLAVOURS)}")
        marker = self._marker(flavour)
        kernel = self._marked(marker)
        if kernel is not None:
            return kernel
        with self._cache.locked("kernels"):
            kernel = self._marked(marker)  # someone else may have fetched it meanwhile
            if kernel is not None:
                return kernel
            return self._fetch(flavour)[0]

    def renew(self, flavour: str = USUAL) -> tuple[Kernel, bool]:
        """The newest kernel of a flavour that the package sources have, which `get` gives from then on; and whether it
        had to be fetched."""
        with self._cache.locked("kernels"):
            return self._fetch(flavour)

    def choose(self, version: str, flavour: str | None = None) -> Kernel:
        """The newest kernel of a version such as 6.12, 6.1-cloud or a whole release: of the cached ones, else of those
        that the package sources have.  ConfigError, which lists what there is, where it is in neither."""
        wanted = named(version, flavour)
        kernel = _newest(wanted, self._whole())
        return kernel if kernel is not None else self.fetch(version, flavour)[0]

    def fetch(self, version: str, flavour: str | None = None) -> tuple[Kernel, bool]:
        """The newest kernel of a version that the package sources have, and whether it had to be fetched."""
        wanted = named(version, flavour)
        seen: list[Package] = []
        for packages in self._client.search(_BEGINNING, _is_kernel):
            package = _newest(wanted, ((_release_of(package), package.version, package) for package in packages))
            seen += packages
            if package is not None:
                with self._cache.locked("kernels"):
                    return self._fetch_package(package)
        raise ConfigError(
            f"no kernel {wanted} in the cache or this host's package sources{self._client.because()}; "
            f"{self._what_there_is(seen)}"
        )

    def offers(self, *, look: bool = True) -> list[Offer]:
        """All kernels that there are, with `look` also those that could be fetched; by version, the oldest first."""
        usual = self._marked(self._marker(USUAL))
        offers: dict[str, Offer] = {}
        for release, package, kernel in self._whole():
            disk = sum(_disk_usage(path) for path in self._files_of(kernel))
            offers[str(release)] = Offer(release, package, kernel, disk, 0, kernel == usual)
        for found in next(self._client.search(_BEGINNING, _is_kernel), []) if look else ():
            release = _release_of(found)
            have = offers.get(str(release))
            offers[str(release)] = Offer(
                release, have.package if have and have.package else found.version, have.kernel if have else None,
                have.disk if have else 0, found.size, have is not None and have.is_usual,
            )  # fmt: skip
        return sorted(offers.values(), key=lambda offer: (offer.release.age, offer.release.flavour))

    def remove(self, version: str) -> tuple[str, int]:
        """Remove a cached kernel and what was made of it; its release, and how many bytes that gives back.

        ConfigError where there is none of that version, or several, or a guest runs that was booted from it.
        """
        wanted = named(version)
        with self._cache.locked("kernels"):
            cached = {kernel.release: kernel for kernel in self.cached()}
            fitting = [kernel for _, _, kernel in self._whole() if wanted.means(_release(kernel), _package_of(kernel))]
            exact = [cached[version]] if version in cached else fitting
            if not exact:
                raise ConfigError(f"no kernel {version} in the cache; {_listed(cached)}")
            if len(exact) > 1:
                several = " and ".join(kernel.release for kernel in exact)
                raise ConfigError(f"{version} means {several}: say which one")
            files = self._files_of(exact[0])
            with suppress(FileNotFoundError), unpacked_path(exact[0].image, self._cache).open("rb") as image:
                try:
                    flock(image, LOCK_EX | LOCK_NB)
                except BlockingIOError:
                    raise ConfigError(
                        f"a guest runs that was booted from {exact[0].release}: end it first ('xenia list' shows them)"
                    ) from None
            freed = sum(map(_disk_usage, files))
            for path in files:
                self._cache.remove(path)
            return exact[0].release, freed

    def _what_there_is(self, packages: Iterable[Package]) -> str:
        releases = [_release_of(package) for package in packages] + [_release(kernel) for kernel in self.cached()]
        if not releases:
            return "there are none at all"
        return (
            f"there are {', '.join(shortest_names(releases))} ('xenia kernel list --all' has each; apt finds those of "
            "other releases of the distribution where its sources name them)"
        )

    def _whole(self) -> list[tuple[Release, str, Kernel]]:
        """The cached kernels that have all they should."""
        kernels = [kernel for kernel in self.cached() if _is_whole(kernel.image.parent)]
        return [(_release(kernel), _package_of(kernel), kernel) for kernel in kernels]

    def _files_of(self, kernel: Kernel) -> list[Path]:
        """All that the cache has of a kernel."""
        made = (self._cache.root / "initramfs").glob(f"{kernel.release}.*")
        bases = [path for path in made if re.fullmatch(r"[0-9a-f]{64}", path.name.removeprefix(f"{kernel.release}."))]
        all_modules = all_modules_path(self._cache, kernel.release)
        return [kernel.image.parent, unpacked_path(kernel.image, self._cache), all_modules, *bases]

    def _marker(self, flavour: str) -> Path:
        return self._cache.path("kernels", f"{flavour}.json")

    def _marked(self, marker: Path) -> Kernel | None:
        try:
            release = json.loads(marker.read_text())["release"]
            return _kernel(marker.parent / release / "vmlinuz") if _is_whole(marker.parent / release) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _fetch(self, flavour: str) -> tuple[Kernel, bool]:
        packages = [self._client.find(FLAVOURS[flavour])]
        while not packages[-1].name.removeprefix(_BEGINNING).removeprefix("unsigned-")[:1].isdigit():
            names = [name for name in packages[-1].depends if name.startswith(_BEGINNING)]
            if not names or len(packages) > 4:
                raise ConfigError(f"package {packages[-1].name} leads to no kernel")
            packages.append(self._client.find(names[:1]))
        kernel, is_new = self._fetch_package(packages[-1])
        with self._cache.new_file(self._marker(flavour)) as path:
            path.write_text(json.dumps({"release": kernel.release}))
        return kernel, is_new

    def _fetch_package(self, image: Package) -> tuple[Kernel, bool]:
        """The kernel of a package, and whether it was not there."""
        parts = packages_of(self._client, image)
        release = image.name.removeprefix(_BEGINNING).removeprefix("unsigned-")
        target = self._cache.path("kernels", release)
        if _is_whole(target):
            return _kernel(target / "vmlinuz"), False
        with self._cache.new_directory(target) as directory:
            self._unpack_packages(parts, directory)
            if not (directory / "vmlinuz").exists():
                raise ConfigError(f"package {image.name} has no kernel in it")
            (directory / _WANTED).write_text(_wanted_modules())
            (directory / _PACKAGE).write_text(image.version)
        return _kernel(target / "vmlinuz"), True

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


def packages_of(client: PackageClient, image: Package) -> list[Package]:
    """A kernel's package, and those that have modules of it.  ConfigError."""
    return [image, *(client.find([name]) for name in image.depends if name.startswith("linux-modules-"))]


def all_modules_path(cache: Cache, release: str) -> Path:
    """Where all modules of a kernel are, if somebody asked for them."""
    return cache.root / "all-modules" / release


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


def _release(kernel: Kernel) -> Release:
    return Release.parse(kernel.release) or Release(kernel.release, "")


def _release_of(package: Package) -> Release:
    name = package.name.removeprefix(_BEGINNING)
    return Release.parse(name) or Release(name, "")


def _is_kernel(package: str) -> bool:
    release = Release.parse(package.removeprefix(_BEGINNING))
    return release is not None and release.is_kernel


def _package_of(kernel: Kernel) -> str:
    """The version of the package that a cached kernel is from, "" where that was not written down."""
    try:
        return (kernel.image.parent / _PACKAGE).read_text().strip()
    except OSError:
        return ""


def _newest(wanted: Release, choices: Iterable[tuple[Release, str, T]]) -> T | None:
    fitting = [(release, one) for release, package, one in choices if wanted.means(release, package)]
    return max(fitting, key=lambda pair: pair[0].age)[1] if fitting else None


def _listed(kernels: Iterable[str]) -> str:
    names = ", ".join(kernels)
    return f"there are {names}" if names else "there are none in it"


def _disk_usage(path: Path) -> int:
    """Bytes that a file, or a directory with all that is in it, takes on the host's disk."""
    paths = [path, *path.rglob("*")] if path.is_dir() else [path] if path.exists() else []
    return sum(one.lstat().st_blocks * 512 for one in paths)


def held(path: Path) -> IO[bytes]:
    """A kernel's file, open: one of the cache is not removed as long as it is, here or in who is given the descriptor.

    ConfigError where it cannot be opened.
    """
    try:
        file = path.open("rb")
        with suppress(OSError):  # of a file system without locks, which the cache is not on
            flock(file, LOCK_SH | LOCK_NB)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    return file


def unpacked_path(path: Path, cache: Cache) -> Path:
    """Where the image of a packed kernel file is kept."""
    return cache.root / "images" / hashlib.sha256(path.read_bytes()).hexdigest()


def unpacked_image(path: Path, cache: Cache) -> memoryview:
    """The ELF image in a kernel file: see `unpacked`."""
    return unpacked(path, cache)[0]


def unpacked(path: Path, cache: Cache) -> tuple[memoryview, Path]:
    """The ELF image in a kernel file, and a file that it can be had from again at once.

    Unpacking takes a second, so it is kept in the cache, by the file's contents.
    """
    data = read_image(path, MAX_IMAGE)
    file = read_kernel_file(data, str(path))
    if file.packing is Packing.NONE:
        return memoryview(unpack(file, str(path))), path
    target = cache.path("images", hashlib.sha256(data).hexdigest())
    if not target.exists():
        image = memoryview(unpack(file, str(path)))
        with cache.new_file(target) as new:
            _write_sparse(new, image)
    with target.open("rb") as stored:
        return memoryview(mmap.mmap(stored.fileno(), 0, access=mmap.ACCESS_READ)), target


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
