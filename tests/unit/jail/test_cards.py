"""A jailed guest's network cards: what they are plugged into is opened by who asks, and comes as descriptors."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.jail.test_attach import Jailed, guest, needs_guest

__all__ = ["guest"]


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[socket.socket]:
    """What listens at `wire` for the other end of a link."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "wire"))
        listener.listen()
        listener.settimeout(10)
        yield listener


def cards(jailed: Jailed) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(jailed.ask("net", "list", "--json"))["cards"]
    return found


@needs_guest
def test_cards_are_attached_to_a_jailed_guest_and_detached(guest: Jailed, peer: socket.socket) -> None:
    assert guest.ask("net", "attach", "guest", "socket=wire,spoof=allow") == "vif0\n"
    assert guest.ask("net", "attach", "guest", "null,name=spare,mac=00:16:3e:00:00:01") == "spare\n"
    assert [(card["name"], card["number"], card["link"]) for card in cards(guest)] == [
        ("vif0", 0, f"socket={peer.getsockname()}"), ("spare", 1, "null")
    ]  # fmt: skip
    assert "there is a network card with the MAC 00:16:3e:00:00:01 already" in guest.ask(
        "net", "attach", "guest", "null,mac=00:16:3e:00:00:01"
    )
    assert guest.ask("net", "detach", "guest", "00:16:3e:00:00:01", "--force") == ""
    assert [card["name"] for card in cards(guest)] == ["vif0"]
    assert "there is no network card spare (vif0)" in guest.ask("net", "detach", "guest", "spare")


@needs_guest
def test_a_link_whose_other_end_goes_has_no_carrier_any_more(guest: Jailed, peer: socket.socket) -> None:
    guest.ask("net", "attach", "guest", "socket=wire")
    other, _ = peer.accept()
    assert cards(guest)[0]["carrier"] is True
    other.close()
    assert any(not cards(guest)[0]["carrier"] for _ in range(50))


@needs_guest
def test_what_cannot_be_plugged_into_is_told_by_who_asked(guest: Jailed) -> None:
    assert "cannot connect a link to" in guest.ask("net", "attach", "guest", "socket=nowhere")
    assert "no network 'lan' is running" in guest.ask("net", "attach", "guest", "bridge=lan")
    assert "what is 'floppy'?" in guest.ask("net", "attach", "guest", "floppy")
    assert "no guest 'other' is running (running: guest)" in guest.ask("net", "attach", "other", "null")
    assert cards(guest) == []


@needs_guest
def test_a_guest_that_reboots_keeps_its_cards_and_their_addresses(tmp_path: Path, peer: socket.socket) -> None:
    jailed = Jailed(tmp_path, "--on-reboot", "restart", "--net", "socket=wire", "--net", "null,mtu=9000")
    other, _ = peer.accept()
    jailed.ask("net", "attach", "guest", "null")
    before = cards(jailed)
    assert len({card["mac"] for card in before}) == len(before) == 3
    jailed.type(b"reboot\r")
    jailed.prompt()
    after = cards(jailed)
    for card in (*before, *after):
        card.pop("backend_path"), card.pop("domid"), card.pop("seconds")
    assert after == before and after[0]["carrier"]
    assert jailed.end() == 0
    assert other.recv(1) == b""


@needs_guest
def test_a_guest_has_so_many_cards_and_no_more(tmp_path: Path) -> None:
    jailed = Jailed(tmp_path, *["--net", "null"] * 8)
    assert "a guest has 8 network cards at the most" in jailed.ask("net", "attach", "guest", "null")
    assert jailed.end() == 0


@needs_guest
def test_what_passes_a_card_is_captured_into_a_file(guest: Jailed, peer: socket.socket, tmp_path: Path) -> None:
    guest.ask("net", "attach", "guest", "null")
    assert "'one' is no count" in guest.ask("net", "capture", "guest", "--count", "one")
    for _ in range(2):  # who has enough leaves it as it was
        ended = guest.interrupt("net", "capture", "vif1.0", "-o", "x.pcapng", once=tmp_path / "x.pcapng")
        assert ended == (0, "xenia: 0 frames\n")
        assert (tmp_path / "x.pcapng").read_bytes()[:4] == b"\n\r\r\n"
        (tmp_path / "x.pcapng").unlink()
    guest.ask("net", "attach", "guest", "null")
    assert "more than one card is 'guest'" in guest.ask("net", "capture", "guest", "-o", "x.pcapng")


@needs_guest
def test_a_cards_filters_work_and_change_within_the_walls(guest: Jailed, peer: socket.socket, tmp_path: Path) -> None:
    words = "delay=1ms,loss=1%,firewall=in:allow:tcp:22;in:deny,capture=y.pcapng"
    assert guest.ask("net", "attach", "guest", f"socket=wire,{words}") == "vif0\n"
    assert guest.ask("net", "set", "guest", "delay=2ms", "firewall=in:deny") == "vif0\n"
    assert "is no time" in guest.ask("net", "set", "guest", "delay=2")
    assert "spoof= is said when a card is plugged in" in guest.ask("net", "set", "guest/vif0", "spoof=allow")
    assert "'other' is no card of a guest that runs" in guest.ask("net", "set", "other", "delay=2ms")
    layers = cards(guest)[0]["layers"]
    assert [layer["layer"] for layer in layers] == ["capture", "guard", "netem", "firewall", "capture"]
    assert layers[2]["words"] == {"delay": "2ms"} and layers[3]["rules"] == 1
    for said, carrier in (("down", False), ("up", True)):
        assert guest.ask("net", "set", "guest", f"carrier={said}") == "vif0\n"
        assert cards(guest)[0]["carrier"] is carrier
    assert "the carrier is up or down" in guest.ask("net", "set", "guest", "carrier=sideways")
    assert guest.ask("net", "detach", "guest", "vif0", "--force") == ""
    assert (tmp_path / "y.pcapng").read_bytes()[:4] == b"\n\r\r\n"
