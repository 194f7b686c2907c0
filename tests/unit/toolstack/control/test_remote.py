"""What a guest that runs can be asked: requests that say what cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xenia.errors import ConfigError
from xenia.toolstack.config.machine import MachineConfig
from xenia.toolstack.control.control import ControlServer
from xenia.toolstack.control.remote import change_card, handlers
from xenia.toolstack.guest.guest import Guest


@pytest.mark.parametrize(
    ("verb", "request_", "complaint"),
    [
        ("statistics", {}, "it has no domain just now"),
        ("block-attach", {}, "no 'disk' that is dict"),
        ("block-attach", {"disk": {"colour": "red"}}, "describes no disk"),
        ("block-attach", {"disk": {"stack": [["file", {"path": 3}]]}}, "describes no disk"),
        ("block-attach", {"disk": {"stack": "memory:1M", "read_only": [1]}}, "describes no disk"),
        ("block-attach", {"disk": {"stack": "memory:1M", "sector_size": 0}}, "a sector has 512 or 4096 bytes, not 0"),
        ("block-attach", {"disk": {"stack": "memory:1M", "sector_size": -512}}, "a sector has 512 or 4096 bytes"),
        ("block-attach", {"disk": {"stack": "file:/x"}}, "cannot attach a disk to guest 'guest': it is defined"),
        ("block-detach", {"name": "xvda"}, "no 'force' that is bool"),
        ("block-detach", {"name": 7, "force": False}, "no 'name' that is str"),
        ("block-detach", {"name": "xvda", "force": True}, "cannot detach a disk from guest 'guest': it is defined"),
        ("block-resize", {"name": "xvda", "size": "big"}, "no 'size' that is int"),
        ("block-resize", {"name": "xvda"}, "cannot resize a disk of guest 'guest': it is defined"),
    ],
)
def test_a_request_that_cannot_be_is_refused_in_one_line(verb: str, request_: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        handlers(Guest(MachineConfig()))[verb](request_)


def test_a_card_is_changed_where_its_guest_runs_whatever_its_own_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    card = {"name": "vif0", "number": 0, "mac": "00:16:3e:00:00:01"}
    guest = {"name": "web", "domid": 1, "seconds": 1.0, "cards": [card]}
    server = ControlServer("web", {"statistics": lambda _: guest, "network-set": lambda request: request["name"]})
    server.start()
    try:
        assert change_card("web", ["carrier=down"]) == change_card("vif1.0", ["carrier=up"]) == "vif0"
    finally:
        server.close()
