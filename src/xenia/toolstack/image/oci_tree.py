"""The file system that the layers of a container image make, one put over the other (image-spec, layer.md).

It is put together by name only, as inside a root directory: `..` goes no higher than it, and a link leads to what it
names below it.  Nothing of it is ever a path of the host's.  What comes out are files by paths that go through no link.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from xenia.errors import ConfigError

MOST_ENTRIES = 1_000_000
_MOST_LINKS = 40  # on the way to one file, as in Linux
_LONGEST_PATH = 4095
_LONGEST_NAME = 255
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
XATTR = "SCHILY.xattr."
# What an extended attribute that means something outside of the machine that it was set on begins with.
_KEPT = ("user.", "security.capability", "system.posix_acl_")
_MOST_ATTRIBUTES = 64 << 10  # bytes of a file's


@dataclass(eq=False)
class Inode:
    """A file of any kind: what its layer's archive says of it.  Directories have names in them, others have none."""

    member: tarfile.TarInfo
    archive: tarfile.TarFile | None = None
    names: dict[str, Inode] | None = None
    data: bytes = b""  # of a file that is in no archive

    @property
    def attributes(self) -> dict[str, bytes]:
        """Its extended attributes that are kept."""
        found = {
            key.removeprefix(XATTR): value.encode("utf-8", "surrogateescape")
            for key, value in self.member.pax_headers.items()
            if key.startswith(XATTR) and key.removeprefix(XATTR).startswith(_KEPT)
        }
        return found if sum(map(len, found.values())) <= _MOST_ATTRIBUTES else {}

    def contents(self) -> IO[bytes] | None:
        """What is in it, if it is a regular file."""
        if not self.member.isreg():
            return None
        return self.archive.extractfile(self.member) if self.archive is not None else io.BytesIO(self.data)


def _directory(mode: int = 0o755) -> Inode:
    member = tarfile.TarInfo()
    member.type, member.mode = tarfile.DIRTYPE, mode
    return Inode(member, names={})


class Tree:
    """A file system in which layers are put over one another."""

    def __init__(self, where: str) -> None:
        self.root = _directory()
        self._where = where
        self._nr_entries = 0

    def add_layer(self, archive: tarfile.TarFile) -> None:
        """Put a layer over what there is.  It stays open.  ConfigError where it is none.

        What it takes away is always of the layers below, wherever it says so.
        """
        members = []
        for member in archive:
            members.append(member)
            self._nr_entries += 1
            if self._nr_entries > MOST_ENTRIES:
                raise ConfigError(f"{self._where}: more than {MOST_ENTRIES} files")
        for member in members:
            *folders, name = self._parts(member.name) or [""]
            if name.startswith(_WHITEOUT):
                self._take_away(folders, name)
        for member in members:
            self._add(member, archive)

    def find(self, path: str) -> Inode | None:
        """The file of that name, links on the way and of its own followed; None where there is none."""
        found = self._walk(self._parts(path), make=False)
        return found[-1] if found else None

    def add(self, member: tarfile.TarInfo) -> None:
        """Put one more file in place, with nothing in it, whatever was there."""
        self._add(member, None)

    def add_file(self, path: str, data: bytes) -> None:
        """The same of a regular file of root's."""
        member = tarfile.TarInfo(path)
        member.size = len(data)
        self._add(member, None)
        found = self._walk(self._parts(path), make=False)
        found[-1].data = data

    def paths(self) -> Iterator[tuple[str, Inode]]:
        """All files with their paths, each directory before what is in it."""
        waiting = [("", self.root)]
        while waiting:
            path, inode = waiting.pop()
            yield path, inode
            if len(path) > _LONGEST_PATH:
                raise ConfigError(f"{self._where}: a path is longer than {_LONGEST_PATH} characters")
            below = sorted((inode.names or {}).items(), reverse=True)
            waiting += [(f"{path}/{name}" if path else name, one) for name, one in below]

    def _parts(self, path: str) -> list[str]:
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if (
            len(path) > _LONGEST_PATH
            or "\0" in path
            or any(len(part.encode("utf-8", "surrogateescape")) > _LONGEST_NAME for part in parts)
        ):
            raise ConfigError(f"{self._where}: a layer has a file with a name that no file can have")
        return parts

    def _walk(self, parts: list[str], *, make: bool) -> list[Inode]:
        """The root and all directories on the way to that path, and it; empty where there is none.  With `make` it is a
        directory, which is made if need be."""
        way, pending, nr_links = [self.root], parts[::-1], 0
        while pending:
            part = pending.pop()
            names = way[-1].names
            if part in ("", "."):
                continue
            if part == "..":
                del way[max(1, len(way) - 1) :]
                continue
            if names is None:
                if make:
                    raise ConfigError(f"{self._where}: a layer has files in {'/'.join(parts)}, which is no directory")
                return []
            if part not in names:
                if not make:
                    return []
                names[part] = _directory()
            inode = names[part]
            if inode.member.issym():
                nr_links += 1
                if nr_links > _MOST_LINKS or len(pending) > _LONGEST_PATH:
                    raise ConfigError(f"{self._where}: links that lead in a circle, at {'/'.join(parts)}")
                target = inode.member.linkname
                way = way[:1] if target.startswith("/") else way
                pending += target.split("/")[::-1]
                continue
            way.append(inode)
        if make and way[-1].names is None:
            raise ConfigError(f"{self._where}: a layer has files in {'/'.join(parts)}, which is no directory")
        return way

    def _take_away(self, folders: list[str], name: str) -> None:
        way = self._walk(folders, make=False)
        if not way or way[-1].names is None:
            return
        if name == _OPAQUE:
            way[-1].names.clear()
        elif not name.startswith(_WHITEOUT * 2):  # those are of no concern to others than who wrote them
            way[-1].names.pop(name.removeprefix(_WHITEOUT), None)

    def _add(self, member: tarfile.TarInfo, archive: tarfile.TarFile | None) -> None:
        parts = self._parts(member.name)
        while ".." in parts:  # as a path that is cleaned before anybody follows it
            at = parts.index("..")
            del parts[max(0, at - 1) : at + 1]
        if parts and parts[-1].startswith(_WHITEOUT):
            return
        self._check(member)
        if not parts:
            if member.isdir():
                self.root.member = member
            return
        names = self._walk(parts[:-1], make=True)[-1].names
        assert names is not None
        old = names.get(parts[-1])
        if member.islnk():
            names[parts[-1]] = self._linked(member)
        elif member.isdir():
            names[parts[-1]] = Inode(member, names=old.names if old is not None and old.names is not None else {})
        elif member.isreg() or member.issym() or member.isdev():
            names[parts[-1]] = Inode(member, archive)

    def _linked(self, member: tarfile.TarInfo) -> Inode:
        *folders, name = self._parts(member.linkname) or [""]
        way = self._walk(folders, make=False)
        found = way[-1].names.get(name) if way and way[-1].names is not None else None
        if found is None or found.names is not None:
            raise ConfigError(
                f"{self._where}: a layer links {member.name} to {member.linkname}, which is no file in it"
            )
        return found

    def _check(self, member: tarfile.TarInfo) -> None:
        fields = ((member.uid, 1 << 32), (member.gid, 1 << 32), (member.devmajor, 1 << 12), (member.devminor, 1 << 20))
        if not all(0 <= value < limit for value, limit in fields) or len(member.linkname) > _LONGEST_PATH:
            raise ConfigError(f"{self._where}: a layer has a file with an owner, link or device that there cannot be")
