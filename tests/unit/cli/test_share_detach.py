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

SHARES = [
    {"name": "share0", "path": "/src", "mount": "/src"}, {"name": "share1", "path": "/twice", "mount": "/a"},
    {"name": "share2", "path": "/twice", "mount": "/b"}, {"name": "b", "path": "/c", "mount": None},
]  # fmt: skip


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is taken away from a guest that says that it uses the folder."""
    place = SimpleNamespace(number=7, ask=lambda _: {"shares": SHARES})
    called: list[Any] = []

    def unmount(*_: object) -> None:
        raise ConfigError("it still uses it")

    monkeypatch.setattr("xenia.toolstack.control.client.find_one", lambda _: place)
    monkeypatch.setattr(mounts, "unmount", unmount)
    monkeypatch.setattr(remote, "call", lambda *words: called.append(words))
    return called


def detach(*, force: bool, folder: str = "/src") -> Namespace:
    return Namespace(action="detach", guest="web", folder=folder, json=False, force=force)


def test_a_folder_that_a_guest_does_not_let_go_of_stays(called: list[Any]) -> None:
    with pytest.raises(ConfigError):
        share(detach(force=False), Voice())
    assert not called


def test_a_folder_is_taken_away_by_force_whatever_the_guest_says(called: list[Any]) -> None:
    assert share(detach(force=True), Voice()) == 0
    assert len(called) == 1


@pytest.mark.parametrize(("word", "tag"), [("share0", "share0"), ("src", "share0"), ("/b", "share2"), ("b", "b")])
def test_a_folder_is_called_by_its_tag_or_where_it_is_here_or_there(
    called: list[Any], monkeypatch: pytest.MonkeyPatch, word: str, tag: str
) -> None:
    monkeypatch.chdir("/")
    share(detach(force=True, folder=word), Voice())
    assert [verb.device for _, verb in called] == [tag]


@pytest.mark.parametrize(
    ("word", "why"),
    [("/twice", "more than once: say share1 or share2$"), ("/x", r"no shared folder '/x' \(there are share0, share1")],
)
def test_a_folder_that_is_shared_twice_or_not_at_all_is_told(called: list[Any], word: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        share(detach(force=True, folder=word), Voice())
    assert not called
