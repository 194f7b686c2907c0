"""Building an image: fetch the packages, lay them out, and let a guest finish what only root on such a system can."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from xenia.errors import ConfigError
from xenia.storage.size import MIB
from xenia.storage.stack import begins_as_zeroes, words_of
from xenia.toolstack.disks.new_disk import new_disk, refuse_overlays
from xenia.toolstack.image.config import ImageConfig, module_files
from xenia.toolstack.image.installation import BuildWords, Installation, install, installer, nameless
from xenia.toolstack.image.package import read_package
from xenia.toolstack.image.repositories import APT_PROXIES, repositories
from xenia.toolstack.image.system import SystemArchive
from xenia.toolstack.image.tools import tool_files
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.provision.initramfs import FILE_SYSTEMS, FRONTENDS, base_initramfs
from xenia.toolstack.provision.kernels import Kernels
from xenia.toolstack.provision.packages import PackageClient


@dataclass(frozen=True, slots=True)
class Built:
    """An image that was built.  `packages` are versions by name; `kernel` is the release it has modules for."""

    image: str
    size: int
    kernel: str
    packages: dict[str, str]
    seconds: float


def build(config: ImageConfig, words: BuildWords) -> Built:
    """Build an image.  ConfigError: packages that cannot be had, a disk that cannot be made or is too small."""
    start = time.monotonic()
    cache = Cache()
    client = PackageClient(cache, words.progress)
    kernels = Kernels(cache, client, words.progress)
    refuse_overlays(config.output)
    with new_disk(config.output, config.size, config.replace) as disk:
        kernel = kernels.get()
        base = base_initramfs(cache, kernels.busybox(), kernel, FRONTENDS, FILE_SYSTEMS[:1])
        with cache.locked("packages"):
            directory = cache.path("packages", "partial").parent
            packages = [read_package(path) for path in client.fetch_system(config.wanted, directory)]
        tools = tool_files(packages, "e2fsprogs", ("mke2fs", "mke2fs.conf"))
        with cache.scratch_file() as file:
            with SystemArchive(file) as archive:
                left = archive.add_packages(packages, words.progress)
                found = repositories(client.sources(), client.settings(*APT_PROXIES), os.environ, config.mirror)
                for path, data in {**config.files(), **found.files, **module_files(kernel)}.items():
                    archive.add_file(path, data)
            file.flush()
            needed = file.tell() * 3 // 2 // MIB
            if config.size < needed * MIB:
                raise ConfigError(f"a disk of {config.size // MIB}M is too small: this system needs {needed}M")
            tools["password"] = f"root:{config.root_password}\n".encode() if config.root_password else b""
            boot = installer(base, kernel, tools, begins_as_zeroes(words_of(disk)), cache)
            installation = Installation(len(left), len(packages))
            install(boot, disk, nameless(file), installation, words)
    if found.host_ports:
        hosts = ",".join(f"host={port}" for port in found.host_ports)
        words.say(f"apt goes through a port of this host's own, which guests reach with: xenia run --net user,{hosts}")
    names = {package.name: package.fields["Version"] for package in packages}
    return Built(config.output, config.size, kernel.release, dict(sorted(names.items())), time.monotonic() - start)
