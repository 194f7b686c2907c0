"""The cache: whole things or nothing."""

import errno
import os
from pathlib import Path

import pytest

from xenia.errors import ConfigError
from xenia.toolstack.provision.cache import Cache, default_root


def test_the_place_follows_xdg_cache_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_root() == tmp_path / "xenia"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_root() == tmp_path / ".cache" / "xenia"


def test_without_a_home_it_is_a_private_directory_among_temporary_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    root = default_root()
    assert root == tmp_path / f"xenia-{os.getuid()}"
    assert root.stat().st_mode & 0o777 == 0o700


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    target = cache.path("thing")
    with pytest.raises(KeyError), cache.new_file(target) as path:
        path.write_text("half")
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    with cache.new_file(target) as path:
        path.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"


def test_a_directory_replaces_the_old_one_when_it_is_ready(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    target = cache.path("things")
    for text in ("old", "new"):
        with cache.new_directory(target) as path:
            (path / text).touch()
    assert [path.name for path in target.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["things"]


def test_a_cache_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot use the cache .*/file: Not a directory \(set XDG_CACHE_HOME\)"):
        Cache(tmp_path / "file").path("a", "b")


def test_a_scratch_file_has_no_name_and_what_goes_wrong_with_it_is_one_line(tmp_path: Path) -> None:
    with Cache(tmp_path).scratch_file() as file:
        file.write(b"something")
        assert list(tmp_path.iterdir()) == []
    with (
        pytest.raises(ConfigError, match=r"cannot write to the cache .*: No space left"),
        Cache(tmp_path).scratch_file(),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_scratch_directory_goes_with_all_that_is_in_it(tmp_path: Path) -> None:
    with Cache(tmp_path / "cache").scratch_directory() as directory:
        assert directory.parent == tmp_path / "cache"
        (directory / "inner").mkdir()
    assert list((tmp_path / "cache").iterdir()) == []
