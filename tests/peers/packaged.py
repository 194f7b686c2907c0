"""Files out of the distribution's packages, which nothing here installs."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from xenia.errors import ConfigError
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.provision.deb import read_deb
from xenia.toolstack.provision.packages import PackageClient


def _members(package: str, directory: Path) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """What is in the package; the test is skipped where there is no such package to be had."""
    if not PackageClient.available():
        pytest.skip(f"no apt-get on this host to fetch {package} with")
    client = PackageClient(Cache())
    try:
        deb = client.download(client.find([package]), directory)
    except ConfigError as error:
        pytest.skip(f"{package}: {error}")
    yield from read_deb(deb)


def member(package: str, pattern: str, directory: Path) -> Path:
    """The first file of the package whose name matches, in `directory`."""
    for one, contents in _members(package, directory):
        if contents is not None and re.search(pattern, one.name):
            path = directory / Path(one.name).name
            path.write_bytes(contents.read())
            return path
    raise AssertionError(f"{package} has nothing like {pattern}")


def member_tree(package: str, beginning: str, directory: Path) -> Path:
    """All files of the package whose names begin so, below `directory`, which is returned."""
    directory.mkdir()
    for one, contents in _members(package, directory):
        name = one.name.removeprefix("./")
        if contents is not None and name.startswith(beginning):
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(contents.read())
    return directory
