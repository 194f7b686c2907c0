"""The file of a core."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xenia import ConfigError
from xenia.toolstack.config.core import open_core


@pytest.mark.parametrize("was_there", [False, True])
def test_nobody_but_its_owner_reads_a_core_whatever_the_file_was_before(tmp_path: Path, was_there: bool) -> None:
    path = tmp_path / "core"
    if was_there:
        path.write_bytes(b"for all to read")
        path.chmod(0o644)
    with open_core(path) as descriptor:
        os.write(descriptor, b"secret")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_core_that_does_not_come_to_be_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no more"), open_core(tmp_path / "core"):
        raise ConfigError("no more")
    assert list(tmp_path.iterdir()) == []


def test_where_no_file_can_be_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory"), open_core(tmp_path / "nowhere" / "core"):
        pass
