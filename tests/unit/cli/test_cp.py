"""`xenia cp` between two guests, both of which are this host."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.unit.toolstack.commands.here import start
from xenia.cli import cp
from xenia.cli.main import command
from xenia.errors import ConfigError
from xenia.toolstack.control import client


def test_files_pass_through_the_cache_while_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(client, "find_one", lambda _: SimpleNamespace(starter=start))
    (tmp_path / "file").write_bytes(b"data")
    assert command(["cp", f"a:{tmp_path}/file", f"b:{tmp_path}/copy"]) == 0
    assert (tmp_path / "copy").read_bytes() == b"data"
    monkeypatch.setattr(cp, "_SPARE", 1 << 80)
    assert command(["cp", f"a:{tmp_path}/file", f"b:{tmp_path}/again"]) == 2
    assert f"{tmp_path}/xenia: less than" in capsys.readouterr().err
    assert not (tmp_path / "again").exists()
    assert list((tmp_path / "xenia").iterdir()) == []


def test_what_is_in_a_folder_passes_through_whatever_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(client, "find_one", lambda _: SimpleNamespace(starter=start))
    for number, names in enumerate(((), ("one",), ("one", "other"))):
        source, target, new = (tmp_path / f"{kind} {number}" for kind in ("source", "target", "new"))
        source.mkdir()
        target.mkdir()
        for name in names:
            (source / name).write_bytes(b"data")
        for to in (target, new):
            assert command(["cp", "-r", f"a:{source}/.", f"b:{to}"]) == 0
            assert sorted(path.name for path in to.iterdir()) == sorted(names)


def test_a_target_that_is_not_there_is_told_before_anything_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def find_one(guest: str) -> SimpleNamespace:
        if guest == "b":
            raise ConfigError("no guest 'b' runs")
        return SimpleNamespace(starter=lambda *_: pytest.fail("a command was begun"))

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(client, "find_one", find_one)
    assert command(["cp", f"a:{tmp_path}/file", f"b:{tmp_path}/copy"]) == 2
    assert capsys.readouterr().err == "xenia: no guest 'b' runs\n"
