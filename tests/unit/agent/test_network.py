"""The agent's DHCP client, in a network namespace, against a server that answers what a test tells it to."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from xenia.agent import build

HERE = Path(__file__).parent
DISCOVER, OFFER, REQUEST, ACK, NAK = [1], [2], [3], [5], [6]
ADDRESS, SERVER = (10, 9, 8, 7), (10, 9, 8, 1)
LEASE: dict[int, Any] = {0: ADDRESS, 1: (255, 255, 255, 0), 3: SERVER, 6: (*SERVER, 10, 9, 8, 2), 15: b"xenia.internal",
                         51: (0, 0, 14, 16), 54: SERVER}  # fmt: skip
OFFERS, ACKS = {**LEASE, 53: OFFER}, {**LEASE, 53: ACK}

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64" or build.find_compiler() is None,
    reason="runs the agent natively: needs x86-64 Linux and a C compiler",
)


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("agent") / "probe"
    command = [build.find_compiler() or "", *build.FLAGS, "-Wno-unused-function", "-I", str(build.SOURCE.parent)]
    subprocess.run([*command, "-o", str(target), str(HERE / "network_probe.c")], check=True)
    return target


def ask(probe: Path, *script: list[dict[int, Any]] | str) -> Any:
    """What came of a server's answers; "anew": another card took the name of the first one."""
    if shutil.which("ip") is None:
        pytest.skip("no ip(8) to look at a network namespace with")
    wrap = [] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user"]
    done = subprocess.run(
        [*wrap, sys.executable, str(HERE / "dhcp_server.py"), str(probe)],
        input=repr(list(script)), capture_output=True, text=True, timeout=100, check=False, start_new_session=True,
    )  # fmt: skip
    if done.returncode and ("PermissionError" in done.stderr or "unshare" in done.stderr or "/dev/net" in done.stderr):
        pytest.skip("a network namespace with a card cannot be made here")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def addresses(end: Any) -> list[str]:
    return [f"{one['local']}/{one['prefixlen']}" for one in end["card"]["addr_info"]]


def test_a_card_gets_its_address_route_and_name_servers_in_four_messages(probe: Path) -> None:
    end = ask(probe, [OFFERS], [{**ACKS, 26: (5, 120)}])
    first, second = end["heard"]
    assert (first["53"], second["53"]) == (DISCOVER, REQUEST)
    assert second["50"] == list(ADDRESS) and second["54"] == list(SERVER) and bytes(second["12"]) == b"visitor"
    assert first["flags"] == 0x80 and second["client"] == [0, 0, 0, 0]
    assert first["source"] == second["source"] == "0.0.0.0"  # not that of another card
    assert addresses(end) == ["10.9.8.7/24"] and end["card"]["mtu"] == 1400 and "UP" in end["card"]["flags"]
    assert [(one["dst"], one.get("gateway")) for one in end["routes"]] == [
        ("default", "10.9.8.1"),
        ("10.9.8.0/24", None),
    ]
    assert end["resolv"] == "search xenia.internal\nnameserver 10.9.8.1\nnameserver 10.9.8.2\n"
    assert end["said"] == f"up\n{end['resolv']}" and end["complaints"] == ""


def test_answers_to_the_address_that_is_offered_are_taken_as_broadcasts_are(probe: Path) -> None:
    end = ask(probe, [{**OFFERS, -2: ADDRESS}], [{53: NAK, -2: ADDRESS}], [OFFERS], [{**ACKS, -2: ADDRESS}])
    assert [one["53"] for one in end["heard"]] == [DISCOVER, REQUEST, DISCOVER, REQUEST]
    assert addresses(end) == ["10.9.8.7/24"] and end["complaints"] == ""


def test_what_is_lost_is_asked_for_again_and_what_is_not_for_it_is_not_taken(probe: Path) -> None:
    junk = [{**OFFERS, -1: b"none"}, {**OFFERS, 53: ACK, 0: (6, 6, 6, 6)}, {0: ADDRESS}]
    end = ask(probe, [], junk, [OFFERS, OFFERS], [], [ACKS])
    assert [one["53"] for one in end["heard"]] == [DISCOVER, DISCOVER, DISCOVER, REQUEST, REQUEST]
    assert addresses(end) == ["10.9.8.7/24"]


def test_a_refused_address_is_not_kept_and_another_one_is_asked_for(probe: Path) -> None:
    other = {**ACKS, 0: (10, 9, 8, 9)}
    end = ask(probe, [OFFERS], [{53: NAK, 54: SERVER}], [{**other, 53: OFFER}], [other])
    assert [one["53"] for one in end["heard"]] == [DISCOVER, REQUEST, DISCOVER, REQUEST]
    assert addresses(end) == ["10.9.8.9/24"]


def test_where_nobody_answers_the_guest_goes_on_with_one_line_and_asks_on(probe: Path) -> None:
    end = ask(probe, [], [], [], [], [OFFERS], [ACKS])
    assert end["said"] == "up\n"
    assert end["complaints"] == "xenia: card0: no DHCP server answers; it has no IPv4 address yet\n"
    assert addresses(end) == ["10.9.8.7/24"] and "nameserver 10.9.8.1" in end["resolv"]


def test_a_lease_is_renewed_in_its_middle_with_its_server_and_lost_at_its_end(probe: Path) -> None:
    short = {**ACKS, 51: (0, 0, 0, 6), 59: (0, 0, 0, 4)}  # seconds between each two, for a busy host
    end = ask(probe, [OFFERS], [short], [short], [], [], [OFFERS], [{**ACKS, 0: (10, 9, 8, 9)}])
    assert [one["53"] for one in end["heard"]] == [DISCOVER, REQUEST, REQUEST, REQUEST, REQUEST, DISCOVER, REQUEST]
    assert [one["client"] for one in end["heard"][2:5]] == [list(ADDRESS)] * 3 and "54" not in end["heard"][2]
    assert [one["source"] for one in end["heard"]] == [*["0.0.0.0"] * 2, *["10.9.8.7"] * 3, *["0.0.0.0"] * 2]
    assert addresses(end) == ["10.9.8.9/24"]


def test_classless_routes_take_the_place_of_the_router(probe: Path) -> None:
    end = ask(probe, [OFFERS], [{**ACKS, 121: (0, *SERVER, 12, 172, 16, 10, 9, 8, 2, 40, 1)}])
    routes = {one["dst"]: one.get("gateway") for one in end["routes"]}
    assert routes == {"default": "10.9.8.1", "172.16.0.0/12": "10.9.8.2", "10.9.8.0/24": None}


def test_a_card_that_has_the_name_of_one_that_is_gone_is_another(probe: Path) -> None:
    end = ask(probe, [OFFERS], [ACKS], "anew", [OFFERS], [{**ACKS, 6: (10, 9, 8, 3)}])
    assert addresses(end) == ["10.9.8.7/24"]
    assert end["resolv"] == "search xenia.internal\nnameserver 10.9.8.3\n"


@pytest.mark.parametrize("tail", [(6, 255), (1, 1, 1), (53, 0), (15, *[200] * 200)], ids=str)
def test_damaged_options_do_no_harm(probe: Path, tail: tuple[int, ...]) -> None:
    number, *value = tail
    end = ask(probe, [{**OFFERS, 43: (0,) * 250, number: value}, OFFERS], [ACKS])
    assert addresses(end) == ["10.9.8.7/24"]
