"""libslirp, the stack of networks without rights: the host's own, or Debian's packages of it unpacked in the cache.

Nothing is installed: what it needs that a host may lack is unpacked beside it, and loaded by path (`net/nat/slirp`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from xenia.errors import ConfigError
from xenia.toolstack.provision.cache import Cache, Progress, no_progress
from xenia.toolstack.provision.deb import read_deb
from xenia.toolstack.provision.packages import PackageClient

# Each library, in the order of loading, and the packages that have it: Debian's of now, and of before.
LIBRARIES: Mapping[str, tuple[str, ...]] = {
    "libpcre2-8.so.0": ("libpcre2-8-0",),
    "libglib-2.0.so.0": ("libglib2.0-0t64", "libglib2.0-0"),
    "libslirp.so.0": ("libslirp0",),
}
_FOLDERS = ("/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib")


def of_host(folders: Iterable[str] = _FOLDERS) -> Path | None:
    """The host's own, if it has one."""
    name = "libslirp.so.0"
    for folder in map(Path, folders):
        for place in (folder / name, *folder.glob(f"*-linux-gnu/{name}")):
            if place.exists():
                return place
    return None


def in_cache(cache: Cache) -> tuple[str, ...] | None:
    """What is in the cache, in the order of loading; None: it was not fetched yet."""
    paths = [cache.root / "slirp" / name for name in LIBRARIES]
    return tuple(map(str, paths)) if all(path.exists() for path in paths) else None


def libraries(cache: Cache, progress: Progress = no_progress, *, host: Path | None = None) -> tuple[str, ...]:
    """What a network's process is to load: nothing, where the host has its own; else what is in the cache, fetched
    where it is not yet.  ConfigError where it cannot be had.

    host   where the host's is; None: look
    """
    if (host or of_host()) is not None:
        return ()
    found = in_cache(cache)
    if found is not None:
        return found
    try:
        with cache.locked("slirp"):
            return in_cache(cache) or fetch(cache, PackageClient(cache, progress))
    except ConfigError as error:
        raise ConfigError(f"no libslirp for a network: {error}; install libslirp0, or give --net none") from None


def fetch(cache: Cache, client: PackageClient) -> tuple[str, ...]:
    """Fetch it into the cache, whatever the host has; as `libraries`.  ConfigError."""
    target = cache.path("slirp")
    with cache.new_directory(target) as directory, tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        for library, names in LIBRARIES.items():
            deb = client.download(client.find(names), Path(scratch))
            (directory / library).write_bytes(_library(deb, library))
    return tuple(str(target / library) for library in LIBRARIES)


def _library(deb: Path, name: str) -> bytes:
    """The file in a package that a library's name leads to."""
    links: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for member, contents in read_deb(deb):
        path = PurePosixPath(member.name)
        if path.name.startswith(name):
            if contents is not None:
                files[path.name] = contents.read()
            elif member.issym():
                links[path.name] = PurePosixPath(member.linkname).name
    while name in links and name not in files:
        name = links.pop(name)
    if name not in files:
        raise ConfigError(f"{deb.name} has no {name} in it")
    return files[name]
