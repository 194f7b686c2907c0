"""Files out of the distribution's packages, which nothing here installs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from xenia.errors import ConfigError
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.provision.deb import read_deb
from xenia.toolstack.provision.packages import PackageClient


def member(package: str, pattern: str, directory: Path) -> Path:
    """The first file of the package whose name matches, in `directory`; the test is skipped where there is no such
    package to be had."""
    if not PackageClient.available():
        pytest.skip(f"no apt-get on this host to fetch {package} with")
    client = PackageClient(Cache())
    try:
        deb = client.download(client.find([package]), directory)
    except ConfigError as error:
        pytest.skip(f"{package}: {error}")
    for one, contents in read_deb(deb):
        if contents is not None and re.search(pattern, one.name):
            path = directory / Path(one.name).name
            path.write_bytes(contents.read())
            return path
    raise AssertionError(f"{package} has nothing like {pattern}")
