"""Building an image: fetch the packages, lay them out, and let a guest finish what only root on such a system can."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from xenia.backends.storage.spec import quote
from xenia.backends.storage.stack import words_of
from xenia.errors import ConfigError
from xenia.toolstack.boot import Words
from xenia.toolstack.cache import Cache
from xenia.toolstack.disk import begins_as_zeroes
from xenia.toolstack.image.config import ImageConfig, module_files
from xenia.toolstack.image.installation import Installation, install
from xenia.toolstack.image.package import read_package
from xenia.toolstack.image.system import SystemArchive
from xenia.toolstack.image.target import new_disk
from xenia.toolstack.image.tools import tool_files
from xenia.toolstack.kernels import Kernels
from xenia.toolstack.packages import PackageClient

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Built:
    """An image that was built.  `packages` are versions by name; `kernel` is the release it has modules for."""

    image: str
    size: int
    kernel: str
    packages: dict[str, str]
    seconds: float


def build(config: ImageConfig, words: Words) -> Built:
    """Build an image.  ConfigError: packages that cannot be had, a disk that cannot be made or is too small."""
    start = time.monotonic()
    cache = Cache()
    client = PackageClient(cache, words.progress)
    kernels = Kernels(cache, client, words.progress)
    kernel = kernels.get()
    with new_disk(config.output, config.size, config.replace) as disk:
        directory = cache.path("packages", "partial").parent
        with cache.locked("packages"):
            packages = [read_package(path) for path in client.fetch_system(config.wanted, directory)]
        with tempfile.NamedTemporaryFile(prefix=".system.", dir=cache.root) as file:
            with SystemArchive(file) as archive:
                for path, data in (config.files() | module_files(kernel)).items():
                    archive.add_file(path, data)
                left = archive.add_packages(packages, words.progress)
            file.flush()
            size = file.tell()
            if config.size < size * 3 // 2:
                raise ConfigError(f"{config.size // MIB}M is too small: this system needs {size * 3 // 2 // MIB + 1}M")
            tools = tool_files(packages, "e2fsprogs", ("mke2fs", "mke2fs.conf"))
            tools["password"] = f"root:{config.root_password}\n".encode() if config.root_password else b""
            zeroed = begins_as_zeroes(words_of(disk))
            install(
                disk,
                f"file:{quote(str(Path(file.name)))}",
                size,
                kernel,
                kernels,
                cache,
                Installation(len(left), len(packages)),
                tools,
                {"KERNEL": kernel.release, "MKE2FS": "-E assume_storage_prezeroed=1" if zeroed else ""},
                words,
            )
    names = {package.name: package.fields["Version"] for package in packages}
    return Built(config.output, config.size, kernel.release, dict(sorted(names.items())), time.monotonic() - start)
