"""All modules of a distribution's kernel, for a guest that asks for them: its packages' whole tree, unpacked once.

It is hundreds of megabytes, of which a guest loads one or two: too much for a RAM disk, and so it is a folder of the
cache that the guest sees, or on a disk where its kernel has no client for that.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from xenia.errors import ConfigError
from xenia.toolstack.config.machine import ALL_MODULES, MachineConfig
from xenia.toolstack.config.share import ShareConfig, for_guest, on_disks
from xenia.toolstack.provision.boot import Words, is_version
from xenia.toolstack.provision.cache import Cache, Progress, no_progress
from xenia.toolstack.provision.deb import read_deb
from xenia.toolstack.provision.kernels import USUAL, Kernel, Kernels, all_modules_path, packages_of
from xenia.toolstack.provision.modules import (
    SUFFIXES,
    ModuleInfo,
    modules_alias,
    modules_dep,
    read_modinfo,
    unpack_module,
)
from xenia.toolstack.provision.packages import PackageClient

TAG = "modules"


def with_all_modules(config: MachineConfig, words: Words) -> MachineConfig:
    """The same, with all modules of its kernel where `modprobe` looks for them, if that is what it asks for.
    ConfigError where they cannot be had."""
    if config.modules != ALL_MODULES:
        return config
    if config.kernel is not None and not is_version(config.kernel):
        raise ConfigError(f"--modules {ALL_MODULES} is for the distribution's kernels; of your own, name the folder")
    cache = Cache()
    client = PackageClient(cache, words.progress)
    kernels = Kernels(cache, client, words.progress)
    if config.kernel is not None:
        kernel = kernels.choose(config.kernel, config.flavour)
    else:
        kernel = kernels.get(config.flavour or USUAL)
    folder = all_modules(kernel, cache, client, words.progress)
    words.clear()
    has_client = {"9p", "9pnet_xen"} <= kernel.module_infos().keys()
    share = ShareConfig(
        str(folder), TAG, f"/lib/modules/{kernel.release}", read_only=True, on_disk=not has_client
    )  # fmt: skip
    disks, shares = on_disks([share], config.disks)
    others = [device for device in config.devices if not isinstance(device, ShareConfig)]
    mine = for_guest([*(device for device in config.devices if isinstance(device, ShareConfig)), *shares])
    return replace(config, modules=None, disks=disks, devices=(*mine, *others))


def all_modules(kernel: Kernel, cache: Cache, client: PackageClient, progress: Progress = no_progress) -> Path:
    """A folder of the cache with all modules of a kernel and the lists that modprobe reads, fetched where it is not
    there.  ConfigError."""
    target = cache.path(*all_modules_path(cache, kernel.release).relative_to(cache.root).parts)
    if target.is_dir():
        return target
    with cache.locked("kernels"):
        if target.is_dir():
            return target
        names = [f"linux-image-{kernel.release}", f"linux-image-unsigned-{kernel.release}"]
        parts = packages_of(client, client.find(names))
        with cache.new_directory(target) as directory, tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            infos: dict[str, ModuleInfo] = {}
            for package in parts:
                deb = client.download(package, Path(scratch))
                infos |= _unpacked(deb, directory, progress)
                deb.unlink()
            if not infos:
                raise ConfigError(f"package {parts[0].name} has no modules in it")
            (directory / "modules.dep").write_bytes(modules_dep({f"{name}.ko": info for name, info in infos.items()}))
            (directory / "modules.alias").write_bytes(modules_alias(infos.values()))
    return target


def _unpacked(deb: Path, directory: Path, progress: Progress) -> dict[str, ModuleInfo]:
    infos: dict[str, ModuleInfo] = {}
    for member, contents in read_deb(deb, progress):
        name = member.name.removeprefix("./").removeprefix("usr/")
        if contents is not None and name.startswith("lib/modules/") and name.endswith(SUFFIXES):
            data = unpack_module(contents.read(), name)
            info = read_modinfo(data, name)
            infos[info.name] = info
            (directory / f"{info.name}.ko").write_bytes(data)
    return infos
