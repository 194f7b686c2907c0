"""`xenia cp` between two guests, both of which are this host."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.unit.toolstack.commands.here import start
from xenia.cli import cp
from xenia.cli.main import command
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
