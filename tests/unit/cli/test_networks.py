"""What `xenia net` prints."""

from __future__ import annotations

import argparse
import io

import pytest

from xenia.cli import networks
from xenia.cli.voice import Voice
from xenia.toolstack.control import remote
from xenia.toolstack.networks import named


def test_list_says_which_network_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alive = {"name": "lan", "subnet": "10.64.1.0/24", "ports": 2, "pid": 2 << 20}
    stuck = {"name": "stuck", "subnet": None, "ports": None, "pid": None}
    monkeypatch.setattr(named, "describe_all", lambda: [alive, stuck])
    monkeypatch.setattr(remote, "cards", lambda guest: remote.Cards([], []))
    said = io.StringIO()
    _, tables = networks.listing(argparse.Namespace(guest=None, json=False), Voice(said))
    networks.show_lines(tables)
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["lan", "10.64.1.0/24", "2", str(2 << 20)], ["stuck", "-", "-", "-"],
    ]  # fmt: skip
    assert "the network 'stuck' does not answer" in said.getvalue()


def test_show_says_for_what_reason_frames_went_nowhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ports = [
        {"port": 1, "name": "web", "sent": 9, "undelivered": {"unanswered": 7, "vlan": 3 << 20}},
        {"port": 2, "name": "quiet", "sent": 1, "undelivered": {}},
    ]
    monkeypatch.setattr(named, "show", lambda name: {"name": name, "ports": ports})
    _, tables = networks.show(argparse.Namespace(name="lan"), Voice(io.StringIO()))
    networks.show_lines(tables)
    head, web, quiet = capsys.readouterr().out.splitlines()[2:]
    assert head.endswith("UNDELIVERED")
    assert web.endswith("unanswered:7 vlan:3.0M") and quiet.endswith("-")
