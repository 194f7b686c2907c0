"""`xenia gdb` before gdb is there."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from xenia.cli.gdb import _become_parent, _own_symbols
from xenia.cli.voice import Voice


class Place:
    """Of a guest whose memory nobody serves."""

    def ask(self, *_: object, **__: object) -> None:
        pass


@pytest.mark.parametrize("failure", [struct.error("argument out of range"), MemoryError(), RecursionError()])
def test_a_guest_whose_symbols_cannot_be_read_is_debugged_without_them(
    failure: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr("xenia.toolstack.symbols.own.own_symbols", fail)
    place: Any = Place()
    assert _own_symbols(place, Voice(quiet=False)) is None
    assert "no names for addresses: what the kernel has of them is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(("script", "status"), [("exit 3", 3), ("kill -9 $$", 137)])
def test_a_debugger_ends_as_a_shell_would_tell_it(script: str, status: int) -> None:
    assert _become_parent(["sh", "-c", script]) == status
