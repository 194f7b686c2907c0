"""`xenia share detach`: a guest is asked to let go of the folder, and need not be."""

from __future__ import annotations

from argparse import Namespace
from types import SimpleNamespace
from typing import Any

import pytest

from xenia.cli.share import share
from xenia.cli.voice import Voice
from xenia.errors import ConfigError
from xenia.toolstack.control import mounts, remote


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is taken away from a guest that says that it uses the folder."""
    place = SimpleNamespace(number=7, ask=lambda _: {"shares": [{"name": "share0", "path": "/src"}]})
    called: list[Any] = []

    def unmount(*_: object) -> None:
        raise ConfigError("it still uses it")

    monkeypatch.setattr("xenia.cli.domains.find_domain", lambda _: place)
    monkeypatch.setattr(mounts, "unmount", unmount)
    monkeypatch.setattr(remote, "call", lambda *words: called.append(words))
    return called


def detach(*, force: bool) -> Namespace:
    return Namespace(action="detach", guest="web", folder="/src", json=False, force=force)


def test_a_folder_that_a_guest_does_not_let_go_of_stays(called: list[Any]) -> None:
    with pytest.raises(ConfigError):
        share(detach(force=False), Voice())
    assert not called


def test_a_folder_is_taken_away_by_force_whatever_the_guest_says(called: list[Any]) -> None:
    assert share(detach(force=True), Voice()) == 0
    assert len(called) == 1
