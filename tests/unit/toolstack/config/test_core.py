"""The file of a core."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
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


def test_a_core_has_its_name_when_it_is_whole_and_until_then_what_was_called_so(tmp_path: Path) -> None:
    path, link = tmp_path / "core", tmp_path / "link"
    path.write_bytes(b"the one before")
    link.symlink_to("core")
    with open_core(link) as descriptor:
        os.write(descriptor, b"half")
        assert path.read_bytes() == b"the one before"
        os.write(descriptor, b" and half")
    assert path.read_bytes() == b"half and half" and link.is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["core", "link"]
    with pytest.raises(ConfigError, match="no more"), open_core(path) as descriptor:
        os.write(descriptor, b"less")
        raise ConfigError("no more")
    assert path.read_bytes() == b"half and half"


def test_a_core_whose_writer_is_killed_leaves_nothing_of_its_name(tmp_path: Path) -> None:
    program = (
        "import os, sys; from xenia.toolstack.config.core import open_core\n"
        "with open_core(sys.argv[1]) as core: os.write(core, b'half'); print('half', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "core"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == b"half\n"
        writer.kill()
    assert writer.returncode == -signal.SIGKILL
    assert os.listdir(tmp_path) == []


def test_where_files_have_names_from_the_beginning_a_core_has_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def without(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "not supported")
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", without)
    path = tmp_path / "core"
    with open_core(path) as descriptor:
        os.write(descriptor, b"whole")
        assert [name[:12] for name in os.listdir(tmp_path)] == [".xenia-core-"]
    assert path.read_bytes() == b"whole" and path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigError, match="no more"), open_core(path):
        raise ConfigError("no more")
    assert os.listdir(tmp_path) == ["core"] and path.read_bytes() == b"whole"


@pytest.mark.parametrize(("place", "why"), [("", "a folder, and"), ("/dev/null", "into a file"), ("a\0b", "null byte")])
def test_what_is_no_place_for_a_core_is_one_line(tmp_path: Path, place: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why), open_core(os.path.join(tmp_path, place)):
        pass
