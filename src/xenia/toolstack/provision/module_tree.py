"""The modules of a kernel that is the operator's own: where its build, its package or its installation put them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from mmap import ACCESS_READ, mmap
from pathlib import Path

from xenia.errors import ConfigError
from xenia.toolstack.config.machine import ALL_MODULES
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.provision.kernels import Kernel
from xenia.toolstack.provision.modules import SUFFIXES, ModuleInfo, load_order, module_name, read_modinfo, unpack_module

RELEASE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+~-]*")
_BUILD_DEPTH = 3  # arch/x86/boot/bzImage


def places(image: Path, release: str) -> Iterator[Path]:
    """Where the modules of the kernel `release` in the file `image` may be, the most likely place first."""
    image = image.resolve()
    yield image.with_name("modules")
    for parent in (image.parent, *image.parents[_BUILD_DEPTH : _BUILD_DEPTH + 1]):
        if (parent / "modules.order").exists():
            yield parent  # a build tree, or /lib/modules/RELEASE/vmlinuz
    if RELEASE.fullmatch(release):
        for root in (image.parent, image.parent.parent):
            yield root / "lib" / "modules" / release
            yield root / "usr" / "lib" / "modules" / release
        yield Path("/lib/modules", release)


def named_places(directory: Path, release: str) -> Iterator[Path]:
    """The same in a directory that the operator named: it may be the root of a package, or hold several releases."""
    if RELEASE.fullmatch(release):
        yield from (directory / "lib/modules" / release, directory / "usr/lib/modules" / release, directory / release)
    yield directory


def find_modules(
    image: Path, release: str, wanted: Iterable[str], cache: Cache, named: Path | None = None, *, room: int = 0
) -> Kernel | None:
    """The kernel with those of its modules that are wanted, and what they depend on, unpacked in the cache; with all of
    them where their files have no more than `room` bytes.

    None where there are none for this release; ConfigError where `named` has none, or others.
    """
    if named is not None and not named.is_dir():
        hint = f" ('{ALL_MODULES}' stands for all of the distribution's kernel)" if _means_all(named) else ""
        raise ConfigError(f"--modules {named}: there is no such folder{hint}")
    for place in places(image, release) if named is None else named_places(named, release):
        files = _modules_in(place)
        try:
            data, infos = _gather_all(files, room) or _gather(files, wanted)
        except ConfigError:
            if named is not None:
                raise
            continue
        if infos and not any(_fits(info, release) for info in infos.values()):
            if named is not None:
                other = next(iter(infos.values())).vermagic.split(" ")[0]
                raise ConfigError(f"{place}: these modules are for the kernel {other}, not for {release}")
            continue
        if files and (infos or named is None):
            return _unpacked(image, release, data, cache)
    if named is not None:
        raise ConfigError(f"{named}: no kernel modules here that a guest could use")
    return None


def _means_all(named: Path) -> bool:
    return str(named).lower() == ALL_MODULES


def built_modules(directory: Path) -> dict[str, Path]:
    """The files of the modules that a build left in its tree, by name."""
    return {module_name(path): path for path in _built(directory) if path.is_file()}


def left_in_tree(directory: Path, others: Mapping[str, ModuleInfo]) -> dict[str, ModuleInfo]:
    """By its path in a build tree, what each module says that is none of `others`; without those that are no good, or
    depend on what is nowhere."""
    found: dict[str, ModuleInfo] = {}
    for name, path in built_modules(directory).items():
        with suppress(ConfigError, OSError, ValueError), path.open("rb") as file:
            if name not in others:
                data = memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))
                found[str(path.relative_to(directory))] = read_modinfo(data, str(path))
    known = {**others, **{info.name: info for info in found.values()}}

    def is_whole(info: ModuleInfo) -> bool:
        with suppress(ConfigError):
            return bool(load_order([info.name], known))
        return False

    return {place: info for place, info in found.items() if is_whole(info)}


def _modules_in(directory: Path) -> dict[str, Path]:
    """The files of modules, by name.  In a tree that a kernel was built in those of this build, and no leftovers."""
    if not directory.is_dir():
        return {}
    if (directory / "include/config/kernel.release").is_file():
        return built_modules(directory)
    found = (path for path in directory.rglob("*.ko*") if path.name.endswith(SUFFIXES))
    return {module_name(path): path for path in found if path.is_file()}


def _built(directory: Path) -> Iterator[Path]:
    """What modules.order of a build tree lists: modules, or since 6.3 the objects that they are linked of."""
    try:
        lines = (directory / "modules.order").read_text(errors="replace").split()
    except OSError:
        return
    for line in lines:
        yield directory / re.sub(r"\.o$", ".ko", line.removeprefix("kernel/"))


def _gather_all(files: dict[str, Path], room: int) -> tuple[dict[str, bytes], dict[str, ModuleInfo]] | None:
    """All modules; None where they are too large, or one of them is no good."""
    with suppress(ConfigError, OSError):
        if files and sum(path.stat().st_size for path in files.values()) <= room:
            return _gather(files, files)
    return None


def _gather(files: dict[str, Path], wanted: Iterable[str]) -> tuple[dict[str, bytes], dict[str, ModuleInfo]]:
    data: dict[str, bytes] = {}
    infos: dict[str, ModuleInfo] = {}
    names = [module_name(name) for name in wanted if module_name(name) in files]
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in infos or name not in files:
            continue
        try:
            data[name] = unpack_module(files[name].read_bytes(), str(files[name]))
        except OSError as error:
            raise ConfigError(f"{files[name]}: {error.strerror}") from None
        infos[name] = read_modinfo(data[name], str(files[name]))
        waiting += [*infos[name].depends, *infos[name].softdeps]
    load_order(names, infos)  # says which one is missing
    return data, infos


def _fits(info: ModuleInfo, release: str) -> bool:
    return not release or info.vermagic.split(" ")[0] in ("", release)


def _unpacked(image: Path, release: str, data: dict[str, bytes], cache: Cache) -> Kernel:
    digest = hashlib.sha256(release.encode())
    for name, module in sorted(data.items()):
        digest.update(name.encode() + b"\0" + hashlib.sha256(module).digest())
    target = cache.path("modules", digest.hexdigest())
    if not target.exists():
        with cache.new_directory(target) as new:
            for name, module in data.items():
                (new / f"{name}.ko").write_bytes(module)
    return Kernel(release, image, None, target)


def has_driver(image: memoryview, name: str) -> bool:
    """Whether a driver seems to be built into a kernel's image: it has the driver's name in its messages."""
    return re.search(re.escape(name.encode()), image) is not None


def release_of(image: memoryview) -> str:
    """The release of a Linux image by its banner, "" if it has none."""
    banner = re.search(rb"Linux version ([^\0\n% ]{1,64})", image)
    return banner[1].decode("ascii", "replace") if banner else ""
