"""A Debian system, as it is when dpkg has unpacked its packages and configured none, in one tar archive.

For most packages unpacking means this and nothing else: their files are put in place, their configuration files beside
theirs with the suffix .dpkg-new, their control files go to dpkg's directory, and their status says "unpacked".  All
that is done here, at the host's speed.  A package with a script to run before, or with a trigger to set up, is left to
dpkg itself in the guest: it comes along as a file, with nothing in it packed.  Of those, what the essential packages
need to run is also put in place as debootstrap does, for dpkg to go over it again.
"""

from __future__ import annotations

import copy
import io
import tarfile
from collections.abc import Sequence
from types import TracebackType
from typing import IO, Self

from xenia.toolstack.image.package import DebianPackage, closure
from xenia.toolstack.provision.cache import Progress, no_progress
from xenia.toolstack.provision.deb import read_deb, unpacked_deb

ARCHIVES = "var/cache/apt/archives"  # where packages for dpkg are found
_DPKG = "var/lib/dpkg"
# Directories that are links to those of the same name in /usr, in every release that is still kept.
_MERGED = ("bin", "sbin", "lib", "lib64")


class SystemArchive:
    """The archive, written to a file from its beginning to its end.  Use as a context manager."""

    def __init__(self, file: IO[bytes]) -> None:
        self._tar = tarfile.TarFile(fileobj=file, mode="w", format=tarfile.GNU_FORMAT)
        self._directories: set[str] = set()
        self._status: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._tar.close()

    def add_packages(self, packages: Sequence[DebianPackage], progress: Progress = no_progress) -> list[str]:
        """Add a whole system.  The names of the packages that are left to dpkg.

        ConfigError for a damaged package.
        """
        essential = closure(packages, (package.name for package in packages if package.is_essential))
        total = sum(package.path.stat().st_size for package in packages)
        done = 0
        # base-files says what the modes of directories are that others have, too.
        for package in sorted(packages, key=lambda package: package.name != "base-files"):
            progress("unpacking packages", done, total)
            if package.needs_dpkg:
                self.add_file(f"{ARCHIVES}/{package.name}.deb", unpacked_deb(package.path))
                if package.name in essential:
                    self._add_contents(package, skip=package.conffiles)
            else:
                self._register(package, self._add_contents(package))
            done += package.path.stat().st_size
        progress("unpacking packages", total, total)
        for name in _MERGED:
            self._add_directory(f"usr/{name}")
            self._add_link(name, f"usr/{name}")
        self.add_file(f"{_DPKG}/status", "".join(self._status).encode())
        self.add_file(f"{_DPKG}/available", b"")
        self.add_file(f"{_DPKG}/info/format", b"1\n")
        return [package.name for package in packages if package.needs_dpkg]

    def add_file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Add a file of root's; its directories are made where no package has them."""
        self._add_directory(path.rpartition("/")[0])
        member = tarfile.TarInfo(path)
        member.size, member.mode = len(data), mode
        self._tar.addfile(member, io.BytesIO(data))

    def _add_contents(self, package: DebianPackage, skip: frozenset[str] = frozenset()) -> list[str]:
        """Put a package's files in place; all their paths, as dpkg lists them."""
        paths = []
        for member, contents in read_deb(package.path):
            path = "/" + member.name.removeprefix(".").strip("/")
            paths.append(path if path != "/" else "/.")
            if path in skip:
                continue
            new = copy.copy(member)
            new.name = _merged(path)
            new.uname = new.gname = ""  # numbers are what counts
            if member.isdir():
                if new.name in self._directories or new.name in ("", *_MERGED):
                    continue
                self._directories.add(new.name)
            elif member.issym() and new.name in _MERGED:
                continue
            elif member.islnk():
                new.linkname = _merged("/" + member.linkname.removeprefix(".").strip("/"))
            if path in package.conffiles:
                new.name += ".dpkg-new"
            self._tar.addfile(new, contents)
        return paths

    def _register(self, package: DebianPackage, paths: list[str]) -> None:
        """Let dpkg know the package as unpacked."""
        info = f"{_DPKG}/info/{package.info_name}"
        self.add_file(f"{info}.list", "".join(f"{path}\n" for path in paths).encode())
        for name, file in package.control.items():
            if name != "control":
                self.add_file(f"{info}.{name}", file.data, file.mode)
        head, _, rest = package.control["control"].data.decode("utf-8", "replace").strip().partition("\n")
        stanza = f"{head}\nStatus: install ok unpacked\n{rest}\n"
        if package.conffiles:
            stanza += "Conffiles:\n" + "".join(f" {path} newconffile\n" for path in sorted(package.conffiles))
        self._status.append(stanza + "\n")

    def _add_directory(self, path: str) -> None:
        if not path or path in self._directories:
            return
        self._add_directory(path.rpartition("/")[0])
        self._directories.add(path)
        member = tarfile.TarInfo(path)
        member.type, member.mode = tarfile.DIRTYPE, 0o755
        self._tar.addfile(member)

    def _add_link(self, path: str, target: str) -> None:
        member = tarfile.TarInfo(path)
        member.type, member.linkname = tarfile.SYMTYPE, target
        self._tar.addfile(member)


def _merged(path: str) -> str:
    """The archive's name for an absolute path: without the slash, and where the path leads in a merged system."""
    first, slash, _ = path[1:].partition("/")
    return f"usr{path}" if slash and first in _MERGED else path[1:]
