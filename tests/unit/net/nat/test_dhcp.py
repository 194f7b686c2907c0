"""The DHCP server: whoever asks gets its own address, whatever it says."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from xenia.errors import ConfigError
from xenia.net.nat.book import DECLINED, LEASED, OFFERED, AddressBook
from xenia.net.nat.datagram import read_datagram
from xenia.net.nat.dhcp import DhcpServer
from xenia.net.nat.plan import Plan

MAC, OTHER = bytes.fromhex("00163e000001"), bytes.fromhex("00163e000002")


class World:
    """A server, its book, and the time."""

    def __init__(self, subnet: str = "10.0.2.0/24", in_order: bool = True) -> None:
        self.now = 0.0
        self.plan = Plan.read(subnet, "", "xenia.internal", 1500)
        self.book = AddressBook(self.plan, in_order, lambda: self.now)
        self.server = DhcpServer(self.plan, self.book)

    def say(self, kind: str, mac: bytes = MAC, *options: Any, ciaddr: str = "0.0.0.0", flags: int = 0) -> Any:
        """What is answered: a packet, or None."""
        packet = (
            Ether(src=mac.hex(":"), dst="ff:ff:ff:ff:ff:ff")
            / IP(src=ciaddr, dst="255.255.255.255")
            / UDP(sport=68, dport=67)
            / BOOTP(chaddr=mac, xid=77, ciaddr=ciaddr, flags=flags)
            / DHCP(options=[("message-type", kind), *options, "end"])
        )
        asked = read_datagram(bytes(packet))
        assert asked is not None
        answer = self.server.answer(asked)
        return None if answer is None else Ether(answer.frame())

    def take(self, mac: bytes = MAC) -> str:
        """The address that a client has after it asked and took it."""
        offer = self.say("discover", mac)
        ack = self.say("request", mac, ("server_id", "10.0.2.2"), ("requested_addr", offer[BOOTP].yiaddr))
        assert options(ack)["message-type"] == 5
        return str(ack[BOOTP].yiaddr)


def options(packet: Any) -> dict[str, Any]:
    """The options of an answer."""
    return {option[0]: option[1] for option in packet[DHCP].options if isinstance(option, tuple)}


def test_a_client_is_offered_an_address_and_gets_it_with_all_that_it_needs() -> None:
    world = World()
    offer = world.say("discover")
    assert (offer[BOOTP].yiaddr, offer[BOOTP].xid, options(offer)["message-type"]) == ("10.0.2.15", 77, 2)
    assert (offer.dst, offer[IP].dst, offer[UDP].sport, offer[UDP].dport) == (MAC.hex(":"), "10.0.2.15", 67, 68)
    ack = world.say("request", MAC, ("server_id", "10.0.2.2"), ("requested_addr", "10.0.2.15"))
    told = options(ack)
    assert told["message-type"] == 5
    assert (told["subnet_mask"], told["router"], told["name_server"]) == ("255.255.255.0", "10.0.2.2", "10.0.2.3")
    assert (told["server_id"], told["lease_time"], told["interface-mtu"]) == ("10.0.2.2", LEASED, 1500)
    assert (told["domain"], told["renewal_time"] < told["rebinding_time"] < LEASED) == (b"xenia.internal", True)
    assert bytes(ack) == bytes(Ether(bytes(ack)))


def test_a_card_that_was_plugged_in_keeps_its_address_and_is_told_its_name() -> None:
    world = World()
    world.book.reserve(MAC, "alpha", 1, IPv4Address("10.0.2.99"))
    assert world.take() == "10.0.2.99"
    world.now += 10 * LEASED
    assert world.take() == "10.0.2.99"
    assert options(world.say("discover"))["hostname"] == b"alpha"
    assert world.book.find("ALPHA") == [IPv4Address("10.0.2.99")]


def test_a_card_that_takes_less_than_its_network_is_told_so() -> None:
    world = World()
    entry = world.book.reserve(MAC, "alpha", 1)
    for of_card, told in ((None, 1500), (1400, 1400), (9000, 1500)):
        entry.mtu = of_card
        assert options(world.say("discover"))["interface-mtu"] == told


def test_two_hundred_clients_have_an_address_each_and_the_next_has_none() -> None:
    world = World()
    macs = [bytes.fromhex(f"00163e01{number:04x}") for number in range(240)]
    addresses = [world.take(mac) for mac in macs]
    assert len(set(addresses)) == 240
    assert [world.take(mac) for mac in macs] == addresses
    assert world.say("discover", OTHER) is None
    world.now += LEASED + 1
    assert world.take(OTHER) in addresses


def test_an_address_that_is_not_its_own_is_refused() -> None:
    world = World()
    refusal = world.say("request", MAC, ("requested_addr", "10.0.2.77"))
    assert (options(refusal)["message-type"], refusal.dst) == (6, refusal[BOOTP].chaddr[:6].hex(":"))
    assert (refusal[IP].dst, refusal[BOOTP].yiaddr) == ("255.255.255.255", "0.0.0.0")


def test_an_offer_of_another_server_is_no_business_of_ours() -> None:
    world = World()
    world.say("discover")
    assert world.say("request", MAC, ("server_id", "10.0.2.9"), ("requested_addr", "10.0.2.15")) is None


def test_a_lease_is_renewed_and_asked_for_again_after_a_reboot() -> None:
    world = World()
    address = world.take()
    world.now += LEASED / 2
    renewed = world.say("request", ciaddr=address)
    assert (options(renewed)["message-type"], renewed[IP].dst) == (5, address)
    assert options(world.say("request", MAC, ("requested_addr", address)))["message-type"] == 5


def test_an_address_is_given_to_others_when_its_lease_or_its_offer_is_over_and_it_is_needed() -> None:
    world = World("10.0.2.0/29")
    assert [world.take(bytes.fromhex(f"00163e01{number:04x}")) for number in range(3)] == [
        f"10.0.2.{last}" for last in (4, 5, 6)
    ]
    assert world.say("discover", OTHER) is None
    world.say("release", bytes.fromhex("00163e010001"))
    assert world.say("discover", OTHER)[BOOTP].yiaddr == "10.0.2.5"
    world.now += OFFERED + 1
    assert world.say("discover", MAC)[BOOTP].yiaddr == "10.0.2.5"


def test_an_address_that_somebody_else_seems_to_have_is_left_alone_for_a_while() -> None:
    world = World()
    assert world.take() == "10.0.2.15"
    world.say("decline", MAC, ("requested_addr", "10.0.2.15"))
    assert world.take() == "10.0.2.16"
    assert world.take(OTHER) == "10.0.2.17"
    world.now += DECLINED + 1
    assert world.take(bytes.fromhex("00163e000003")) == "10.0.2.15"


def test_who_has_an_address_already_is_told_the_rest() -> None:
    told = World().say("inform", ciaddr="10.0.2.200")
    assert (options(told)["message-type"], told[BOOTP].yiaddr, told[IP].dst) == (5, "0.0.0.0", "10.0.2.200")
    assert "lease_time" not in options(told)
    assert options(told)["name_server"] == "10.0.2.3"


def test_who_asks_for_a_broadcast_gets_one() -> None:
    offer = World().say("discover", flags=0x8000)
    assert (offer.dst, offer[IP].dst) == (MAC.hex(":"), "255.255.255.255")


def test_a_client_is_known_by_the_name_that_it_says_unless_somebody_has_it() -> None:
    world = World()
    world.book.reserve(OTHER, "alpha", 1)
    world.say("discover", MAC, ("hostname", b"alpha"))
    assert len(world.book.find("alpha")) == 1
    world.say("discover", MAC, ("hostname", b"beta.example.org"))
    assert world.book.find("beta") == [IPv4Address("10.0.2.16")]
    world.say("discover", bytes.fromhex("00163e000003"), ("hostname", b"-no-name-"))
    assert not world.book.find("-no-name-")


def test_a_message_under_anothers_mac_is_not_answered() -> None:
    world = World()
    packet = (
        Ether(src=OTHER.hex(":"), dst="ff:ff:ff:ff:ff:ff") / IP(src="0.0.0.0", dst="255.255.255.255")
        / UDP(sport=68, dport=67) / BOOTP(chaddr=MAC) / DHCP(options=[("message-type", "discover"), "end"])
    )  # fmt: skip
    asked = read_datagram(bytes(packet))
    assert asked is not None
    assert world.server.answer(asked) is None


def test_a_networks_addresses_come_of_macs_whoever_comes_first() -> None:
    one, other = World(in_order=False), World(in_order=False)
    assert one.take(MAC) == [other.take(OTHER), other.take(MAC)][1]


def test_what_cannot_be_reserved_is_one_line() -> None:
    book = World().book
    book.reserve(MAC, "alpha", 1, IPv4Address("10.0.2.20"))
    for mac, wish, line in (
        (MAC, None, "alpha is in the network with the address 00:16:3e:00:00:01 already"),
        (OTHER, "10.0.2.20", "ip=10.0.2.20 is alpha's already"),
        (OTHER, "10.0.3.20", "is not of the network"),
        (OTHER, "10.0.2.2", "is the network's own"),
        (OTHER, "10.0.2.255", "is the network's own"),
    ):
        with pytest.raises(ConfigError, match=line):
            book.reserve(mac, "beta", 2, None if wish is None else IPv4Address(wish))


@given(st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_whatever_is_sent_nothing_raises(data: bytes) -> None:
    world = World()
    header = bytes([1, 1, 6, 0]) + b"abcd" + bytes(20) + MAC + bytes(202) + b"\x63\x82\x53\x63"
    for message in (data, header + data):
        packet = bytes(
            Ether(src=MAC.hex(":")) / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) / message
        )
        asked = read_datagram(packet)
        if asked is not None:
            answer = world.server.answer(asked)
            assert answer is None or len(answer.frame()) < 600
