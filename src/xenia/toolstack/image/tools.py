"""A system's own program, taken out of its packages to run before the system is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from xenia.errors import ConfigError
from xenia.toolstack.image.package import DebianPackage, closure
from xenia.toolstack.provision.deb import read_deb

LOADER = "ld-linux-x86-64.so.2"
_LIBRARIES = "x86_64-linux-gnu"
_PLACES = ("bin", "sbin", "etc")  # of programs and what they are told; of the same name there is more elsewhere


def tool_files(packages: Sequence[DebianPackage], owner: str, names: Sequence[str]) -> dict[str, bytes]:
    """The files called `names` of the package `owner`, its loader, and the shared libraries it may need, by name.

    LOADER --library-path with their directory runs a program among them.  ConfigError if any is not there.
    """
    needed = closure(packages, [owner])
    files: dict[str, bytes] = {}
    links: dict[str, str] = {}
    for package in packages:
        for member, contents in read_deb(package.path) if package.name in needed else ():
            path = PurePosixPath(member.name)
            is_library = path.parent.name == _LIBRARIES and ".so" in path.name
            is_named = package.name == owner and path.name in names and path.parent.name in _PLACES
            if contents is not None and (is_library or is_named):
                files[path.name] = contents.read()
            elif member.issym() and is_library and "/" not in member.linkname:
                links[path.name] = member.linkname
    files |= {name: files[target] for name, target in links.items() if target in files}
    for name in (LOADER, *names):
        if name not in files:
            raise ConfigError(f"package {owner} has no {name}, nor does any that it depends on")
    return files
