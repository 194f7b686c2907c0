"""Filters between stock kernels and their network: what a guest may not send, what it may not hear, and what is seen.

Two guests are on one network, a third, in a machine of its own, on another.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.utils import PcapNgReader

from tests.guests.shell import LIMIT, Shell
from xenia.abi.xenbus import XenbusState
from xenia.net.layers.words import parse_layers
from xenia.toolstack.config.machine import MIB
from xenia.toolstack.config.net import parse_card
from xenia.toolstack.devices.vif import NetworkCard
from xenia.toolstack.machine.machine import Machine
from xenia.toolstack.networks import named
from xenia.toolstack.networks.capture import Captured, relay
from xenia.toolstack.provision.packages import PackageClient

pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(not PackageClient.available(), reason="no apt-get on this host to fetch Debian's kernel with"),
]
NETWORK = "filtered"
ALPHA, BETA = "10.0.2.50", "10.0.2.51"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        named.create(NETWORK, subnet="10.0.2.0/24")
        yield folder
        named.delete(NETWORK, force=True)


def guest_on(machine: Machine, name: str, words: str) -> Shell:
    """A guest on its way up."""
    shell = Shell(machine, name, ("xen-netfront",))
    shell.domain.attach(parse_card(words).for_guest(name, 0))
    shell.domain.start()
    return shell


def card_of(shell: Shell) -> NetworkCard:
    (card,) = shell.domain.devices
    assert isinstance(card, NetworkCard)
    return card


@pytest.fixture(scope="module")
def guests(folder: Path) -> Iterator[tuple[Shell, Shell, Shell]]:
    size = Machine.memory_for(128 * MIB, 128 * MIB)
    with Machine(size) as machine, Machine(Machine.memory_for(128 * MIB)) as other:
        firewall = f"delay=out:30ms,firewall=in:allow:tcp:22;in:deny,capture={folder}/beta.pcapng"
        found = (
            guest_on(machine, "alpha", f"bridge={NETWORK},ip={ALPHA}"),
            guest_on(machine, "beta", f"bridge={NETWORK},ip={BETA},{firewall}"),
            guest_on(other, "gamma", "user"),
        )
        for shell in found:
            assert card_of(shell).wait(XenbusState.CONNECTED, LIMIT)
            assert "default" in shell.do("ip route"), shell.do("ip addr; dmesg | tail -20")
        yield found


def dropped(shell: Shell, layer: str) -> dict[str, dict[str, int]]:
    layers = card_of(shell).statistics["layers"]
    found: dict[str, dict[str, int]] = next(one["dropped"] for one in layers if one["layer"] == layer)
    return found


def test_what_a_guest_sends_under_others_addresses_is_dropped_and_counted(guests: tuple[Shell, Shell, Shell]) -> None:
    alpha, _, _ = guests
    alpha.do("ping -c 1 -W 5 10.0.2.2")
    assert not dropped(alpha, "guard").get("out", {}).keys() & {"mac", "ipv4", "arp-mac", "arp-address"}
    alpha.do("ip addr add 10.0.2.77/24 dev eth0")
    assert alpha.run("ping -c 2 -W 1 -I 10.0.2.77 10.0.2.2")[0] != 0
    alpha.do("ip addr del 10.0.2.77/24 dev eth0")
    assert dropped(alpha, "guard")["out"].keys() & {"ipv4", "arp-address"}
    alpha.do("ip link set eth0 down; ip link set eth0 address 00:16:3e:77:77:77; ip link set eth0 up")
    assert alpha.run("ping -c 2 -W 1 10.0.2.2")[0] != 0
    assert dropped(alpha, "guard")["out"]["mac"] > 0
    alpha.do(f"ip link set eth0 down; ip link set eth0 address {card_of(alpha).mac}; ip link set eth0 up")
    alpha.do("until ping -c 1 -W 5 10.0.2.2; do :; done")


def test_a_firewall_lets_one_port_in_and_the_guest_out_and_a_delay_is_felt(guests: tuple[Shell, Shell, Shell]) -> None:
    alpha, beta, _ = guests
    for port in (22, 23):
        beta.do(f"(while :; do echo port {port} | nc -l -p {port}; done) > /dev/null 2>&1 &")
    assert alpha.do(f"for n in 1 2 3 4 5; do nc -w 5 {BETA} 22 && break; sleep 1; done 2> /dev/null") == "port 22\n"
    assert "port" not in alpha.run(f"nc -w 2 {BETA} 23 < /dev/null")[1]
    assert alpha.run(f"ping -c 1 -W 1 {BETA}")[0] != 0
    round_trip = re.search(r"min/avg/max = ([0-9.]+)", beta.do(f"ping -c 3 -i 0.2 -W 5 {ALPHA}"))
    assert round_trip is not None and float(round_trip[1]) >= 30
    assert dropped(beta, "firewall")["in"]["rule"] >= 2
    card_of(beta).cable.change(parse_layers([("firewall", "in:allow:icmp;in:deny"), ("delay", "0ms")]))
    alpha.do(f"ping -c 1 -W 5 {BETA}")
    assert "port" not in alpha.run(f"nc -w 1 {BETA} 22 < /dev/null")[1]


def test_what_passes_a_card_is_captured_while_it_passes(guests: tuple[Shell, Shell, Shell], folder: Path) -> None:
    alpha, _, _ = guests
    source, target = os.pipe()
    file = os.open(folder / "alpha.pcapng", os.O_RDWR | os.O_CREAT)
    card_of(alpha).cable.capture(target)
    reader = threading.Thread(target=relay, args=(source, file, Captured(), 8))
    reader.start()
    alpha.do("ping -c 8 -i 0.1 -W 5 10.0.2.2")
    reader.join(LIMIT)
    os.close(source)
    os.close(file)
    for name in ("alpha", "beta"):  # live, and by a word from the beginning on
        with PcapNgReader(str(folder / f"{name}.pcapng")) as frames:
            echoes = {(frame[IP].dst, frame[ICMP].type) for frame in frames if ICMP in frame}
        assert echoes >= {("10.0.2.2", 8), (ALPHA, 0)} if name == "alpha" else {(ALPHA, 8), (BETA, 0)}


def test_a_guest_does_not_reach_those_of_another_machine(guests: tuple[Shell, Shell, Shell]) -> None:
    alpha, _, gamma = guests
    serving = alpha.begin("nc -l -p 99 > /tmp/got; cat /tmp/got")
    own = gamma.do("ip -4 addr show dev eth0").split("inet ")[1].split("/")[0]
    assert own.startswith("10.0.2."), "of the same addresses"
    assert gamma.run(f"ping -c 2 -W 1 {ALPHA}")[0] != 0
    assert gamma.run(f"echo stranger | nc -w 2 {ALPHA} 99")[0] != 0
    assert ALPHA not in [one["ip"] for one in named.show("gamma")["leases"]]
    _, beta, _ = guests
    beta.do(f"echo neighbour | nc -w 10 {ALPHA} 99")
    assert alpha.finish(serving) == (0, "neighbour\n")
