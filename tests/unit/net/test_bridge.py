"""A switch, with a card at each of its ports."""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest

from xenia.errors import ConfigError
from xenia.net.bridge import Bridge, BridgePort
from xenia.testing.net import Behind, Card
from xenia.testing.packet import Packet

EVERYBODY, GROUP = "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:fb"
A, B, C = (f"00:16:3e:00:00:0{digit}" for digit in "abc")


def frame(target: str, source: str, rest: bytes = b"\x08\0" + b"x" * 50) -> bytes:
    return bytes.fromhex((target + source).replace(":", "")) + rest


def tagged(target: str, source: str, vlan: int, rest: bytes = b"\x08\0" + b"x" * 50, priority: int = 0) -> bytes:
    return frame(target, source, b"\x81\0" + (priority << 13 | vlan).to_bytes(2, "big") + rest)


def data(card: Card) -> list[bytes]:
    return [packet.data for packet in card.received]


class Net:
    """A bridge and its cards by the names of their ports."""

    def __init__(self, *names: str, **options: float) -> None:
        self.bridge = Bridge(**options)
        self.ports: dict[str, BridgePort] = {}
        self.cards: dict[str, Card] = {}
        for name in names:
            self.add(name)

    def add(self, name: str, **options: object) -> Card:
        self.ports[name] = self.bridge.port(name, **options)  # type: ignore[arg-type]
        self.cards[name] = Card(self.ports[name])
        return self.cards[name]

    def dropped(self, name: str) -> dict[str, int]:
        return self.ports[name].statistics().dropped

    def where(self) -> dict[str, str]:
        return {address.mac: address.port for address in self.bridge.addresses()}


@pytest.fixture
def net() -> Net:
    return Net("a", "b", "c")


def test_a_frame_for_an_unknown_address_goes_to_everybody_but_its_sender(net: Net) -> None:
    assert net.cards["a"].send(frame(B, A)) == 1
    assert [len(net.cards[name].received) for name in "abc"] == [0, 1, 1]


def test_a_frame_goes_where_its_address_was_seen_and_nowhere_else(net: Net) -> None:
    net.cards["b"].send(frame(EVERYBODY, B))
    assert [len(net.cards[name].received) for name in "abc"] == [1, 0, 1]
    net.cards["a"].send(frame(B, A))
    assert [len(net.cards[name].received) for name in "abc"] == [0, 1, 0]
    assert net.where() == {A: "a", B: "b"}


def test_a_frame_passes_untouched_with_what_it_still_needs(net: Net) -> None:
    packet = Packet(frame(B, A, b"\x08\0" + bytes(5000)), 1, 1, 66, 1448, 34, 16)
    net.cards["a"].send(packet)
    assert net.cards["b"].received == [packet]


def test_the_order_of_frames_is_kept_whoever_they_are_for(net: Net) -> None:
    net.cards["b"].send(frame(EVERYBODY, B))
    net.cards["a"].received  # noqa: B018
    frames = [frame(target, A, bytes([8, 0, number])) for number, target in enumerate([B, EVERYBODY, B, C, B, B, A])]
    net.cards["a"].send(*frames)
    assert data(net.cards["b"]) == frames[:6]
    net.cards["c"].received  # noqa: B018


def test_an_address_that_moves_is_found_where_it_went(net: Net) -> None:
    net.cards["b"].send(frame(EVERYBODY, B))
    net.cards["c"].send(frame(EVERYBODY, B))
    assert net.where() == {B: "c"}


def test_an_address_that_is_silent_is_forgotten() -> None:
    net = Net("a", "b", "c", age=0.0)
    net.cards["b"].send(frame(EVERYBODY, B))
    net.cards["a"].send(frame(B, A))
    assert [len(net.cards[name].received) for name in "abc"] == [1, 1, 2]
    assert net.where() == {}


def test_an_address_that_is_there_for_good_is_nobody_elses(net: Net) -> None:
    net.add("d", macs=["00:16:3e:00:00:0d"])
    net.cards["a"].send(frame("00:16:3e:00:00:0d", A), frame(B, "00:16:3e:00:00:0d"))
    assert net.dropped("a") == {"moved": 1}
    assert len(net.cards["d"].received) == 1
    assert net.where()["00:16:3e:00:00:0d"] == "d"
    with pytest.raises(ConfigError, match="has the MAC"):
        net.bridge.port("e", macs=["00:16:3e:00:00:0d"])
    assert [port.name for port in net.bridge.ports] == ["a", "b", "c", "d"]


def test_a_port_with_too_many_addresses_loses_its_own_oldest_and_nobody_elses(net: Net) -> None:
    hostile = net.add("d", most_addresses=8, floods=1 << 20)
    net.cards["b"].send(frame(EVERYBODY, B))
    for first in range(0, 2000, 50):
        hostile.send(
            *(frame(A, f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}") for number in range(first, first + 50))
        )
    where = net.where()
    assert where[B] == "b"
    assert sorted(mac for mac, port in where.items() if port == "d") == [
        f"02:00:00:00:07:{n:02x}" for n in range(0xC8, 0xD0)
    ]


def test_frames_for_everybody_are_bounded_and_counted(net: Net) -> None:
    noisy = net.add("d", floods=1)
    for _ in range(40):
        noisy.send(*[frame(EVERYBODY, A)] * 50)
    seen = net.ports["d"].statistics()
    assert 1000 <= seen.flooded <= 1010
    assert seen.dropped == {"limit": 2000 - seen.flooded}
    assert len(net.cards["a"].received) == seen.flooded
    net.cards["b"].send(frame(EVERYBODY, B))
    assert len(net.cards["a"].received) == 1


def test_frames_for_a_group_go_to_everybody(net: Net) -> None:
    net.cards["a"].send(frame(GROUP, A))
    assert [len(net.cards[name].received) for name in "abc"] == [0, 1, 1]


@pytest.mark.parametrize("digit", ["00", "01", "0e"])
def test_addresses_that_no_bridge_passes_on_are_not(net: Net, digit: str) -> None:
    net.cards["a"].send(frame(f"01:80:c2:00:00:{digit}", A))
    assert not net.cards["b"].received
    assert net.dropped("a") == {"reserved": 1}


@pytest.mark.parametrize(
    "bad", [b"", b"x" * 13, frame(B, GROUP), frame(B, "00:00:00:00:00:00"), frame(B, A, b"\x81\0\0")]
)
def test_frames_that_are_none_are_dropped(net: Net, bad: bytes) -> None:
    mirror = net.add("m", mirror=True)
    net.cards["a"].send(bad)
    assert not net.cards["b"].received + mirror.received
    assert net.dropped("a") == {"malformed": 1}


def test_isolated_ports_reach_only_those_that_are_not() -> None:
    net = Net("uplink")
    for name in "ab":
        net.add(name, isolated=True)
    net.cards["a"].send(frame(EVERYBODY, A))
    net.cards["b"].send(frame(EVERYBODY, B), frame(A, B))
    assert [len(net.cards[name].received) for name in ("uplink", "a", "b")] == [2, 0, 0]
    assert net.dropped("b") == {"isolated": 1}
    net.cards["uplink"].send(frame(A, C))
    assert [len(net.cards[name].received) for name in ("uplink", "a", "b")] == [0, 1, 0]


def trunked(name: str) -> Net:
    """One whose first port carries every VLAN."""
    net = Net()
    net.add(name, trunk="all")
    return net


def test_a_port_of_which_nothing_is_said_carries_untagged_frames_alone() -> None:
    net = trunked("all")
    net.add("plain")
    net.add("ten", vlan=10)
    net.cards["plain"].send(tagged(EVERYBODY, A, 10), tagged(EVERYBODY, A, 0), frame(EVERYBODY, A))
    assert data(net.cards["all"]) == [tagged(EVERYBODY, A, 0), frame(EVERYBODY, A)]
    assert net.dropped("plain") == {"vlan": 1}
    net.cards["all"].send(tagged(EVERYBODY, B, 10), frame(EVERYBODY, B))
    assert data(net.cards["plain"]) == [frame(EVERYBODY, B)]
    assert data(net.cards["ten"]) == [frame(EVERYBODY, B)]


def test_vlans_do_not_meet_and_are_tagged_where_several_are_carried() -> None:
    net = trunked("all")
    net.add("ten", vlan=10)
    net.add("ten too", vlan=10)
    net.add("twenty", vlan=20)
    net.add("trunk", trunk=[10, 30])
    net.cards["ten"].send(frame(EVERYBODY, A))
    assert data(net.cards["ten too"]) == [frame(EVERYBODY, A)]
    assert data(net.cards["trunk"]) == data(net.cards["all"]) == [tagged(EVERYBODY, A, 10)]
    assert not net.cards["twenty"].received
    net.cards["trunk"].send(tagged(A, B, 10), tagged(EVERYBODY, C, 20), tagged(EVERYBODY, C, 30))
    assert data(net.cards["ten"]) == [frame(A, B)]
    assert data(net.cards["all"]) == [tagged(EVERYBODY, C, 30)]
    assert not net.cards["twenty"].received
    assert net.dropped("trunk") == {"vlan": 1}


def test_one_address_may_be_in_two_vlans() -> None:
    net = trunked("trunk")
    net.add("ten", vlan=10)
    net.add("twenty", vlan=20)
    net.cards["ten"].send(frame(EVERYBODY, A))
    net.cards["twenty"].send(frame(EVERYBODY, A))
    assert [(each.port, each.mac, each.vlan) for each in net.bridge.addresses()] == [("ten", A, 10), ("twenty", A, 20)]


def test_a_port_may_have_a_vlan_of_its_own_and_carry_others() -> None:
    net = trunked("all")
    net.add("both", vlan=1, trunk=[5])
    net.cards["both"].send(frame(EVERYBODY, A), tagged(EVERYBODY, A, 5), tagged(EVERYBODY, A, 6))
    assert data(net.cards["all"]) == [tagged(EVERYBODY, A, 1), tagged(EVERYBODY, A, 5)]
    net.cards["all"].send(tagged(EVERYBODY, B, 1), tagged(EVERYBODY, B, 5), frame(EVERYBODY, B))
    assert data(net.cards["both"]) == [frame(EVERYBODY, B), tagged(EVERYBODY, B, 5)]


def test_no_frame_gets_into_another_vlan_by_a_tag_behind_its_tag() -> None:
    net = trunked("all")
    net.add("ten", vlan=10)
    net.add("native", vlan=10, trunk=[20])
    net.add("twenty", vlan=20)
    hopping = tagged(EVERYBODY, A, 10, rest=b"\x81\0\0\x14\x08\0" + b"x" * 50)
    net.cards["all"].send(hopping)
    assert not net.cards["ten"].received + net.cards["native"].received + net.cards["twenty"].received
    assert net.dropped("all") == {"vlan": 2}
    net.cards["ten"].send(tagged(EVERYBODY, A, 20))
    assert net.dropped("ten") == {"vlan": 1}


def test_a_tag_that_names_no_vlan_keeps_its_priority() -> None:
    net = trunked("all")
    net.add("ten", vlan=10)
    net.cards["all"].send(tagged(EVERYBODY, B, 0, priority=5))
    assert not net.cards["ten"].received
    net.cards["ten"].send(tagged(EVERYBODY, A, 0, priority=5))
    assert data(net.cards["all"]) == [tagged(EVERYBODY, A, 10, priority=5)]


def test_a_tag_comes_and_goes_on_large_frames_with_what_they_need() -> None:
    net = trunked("all")
    net.add("ten", vlan=10)
    packet = Packet(frame(EVERYBODY, A, b"\x08\0" + bytes(range(256)) * 20), 1, 1, 66, 1448, 34, 16)
    longer = Packet(tagged(EVERYBODY, A, 10, b"\x08\0" + bytes(range(256)) * 20), 1, 1, 70, 1448, 38, 16)
    net.cards["ten"].send(*[packet] * 20)
    assert net.cards["all"].received == [longer] * 20
    net.cards["all"].send(Packet(tagged(EVERYBODY, B, 10, packet.data[12:]), 1, 1, 70, 1448, 38, 16))
    assert net.cards["ten"].received == [Packet(frame(EVERYBODY, B, packet.data[12:]), 1, 1, 66, 1448, 34, 16)]


def test_a_mirror_is_given_all_that_is_sent_once_and_sends_nothing(net: Net) -> None:
    mirror = net.add("m", mirror=True)
    net.cards["b"].send(frame(EVERYBODY, B))
    net.cards["a"].send(frame(B, A), frame(C, A))
    assert data(mirror) == [frame(EVERYBODY, B), frame(B, A), frame(C, A)]
    mirror.send(frame(EVERYBODY, C))
    assert [len(net.cards[name].received) for name in "ab"] == [1, 2]
    assert "c" not in net.where().values()


def test_a_port_with_nobody_at_it_is_passed_by_and_counted(net: Net) -> None:
    net.cards["b"].send(frame(EVERYBODY, B))
    net.cards["b"].close()
    assert net.cards["a"].send(frame(B, A), frame(C, A)) == 2
    assert len(net.cards["c"].received) == 2
    assert net.dropped("a") == {"nobody": 1}


def test_statistics_tell_what_went_through_a_port(net: Net) -> None:
    net.cards["b"].send(frame(EVERYBODY, B))
    net.cards["a"].send(*[frame(B, A)] * 3)
    sender, receiver = (net.ports[name].statistics() for name in "ab")
    assert (sender.sent, sender.sent_bytes, sender.delivered, sender.flooded) == (3, 3 * 64, 1, 0)
    assert (receiver.sent, receiver.delivered, receiver.delivered_bytes, receiver.flooded) == (1, 3, 3 * 64, 1)
    assert (sender.name, sender.addresses, sender.dropped) == ("a", 1, {})


def test_what_is_known_is_listed_with_its_age(net: Net) -> None:
    net.cards["b"].send(frame(EVERYBODY, B))
    net.bridge.port("d", macs=[C])
    learnt, static = net.bridge.addresses()
    assert (learnt.mac, learnt.vlan, learnt.port) == (B, 0, "b")
    assert learnt.age is not None and 0 <= learnt.age < 60
    assert (static.mac, static.port, static.age) == (C, "d", None)


def test_a_port_that_is_closed_is_gone_with_its_addresses_and_its_name_is_free(net: Net) -> None:
    net.cards["b"].send(frame(EVERYBODY, B))
    net.cards["b"].close()
    net.ports["b"].close()
    net.ports["b"].close()
    assert net.where() == {}
    again = net.add("b")
    net.cards["a"].send(frame(B, A))
    assert len(again.received) == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"name": "a"}, "has a port 'a' already"),
        ({"name": "x", "vlan": 4095}, "no VLAN 4095"),
        ({"name": "x", "trunk": [0]}, "no VLAN 0"),
        ({"name": "x", "macs": ["00:16:3e"]}, "no card's MAC"),
        ({"name": "x", "macs": [GROUP]}, "no card's MAC"),
        ({"name": "x", "macs": ["00:16:3e:00:00:zz"]}, "no card's MAC"),
    ],
)
def test_what_cannot_be_is_told(net: Net, options: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        net.bridge.port(**options)  # type: ignore[arg-type]


def test_another_port_is_joined_and_its_frames_are_the_bridges(net: Net) -> None:
    uplink = Behind()
    joint = net.bridge.join(uplink, "uplink")
    uplink.come(frame(EVERYBODY, B))
    net.cards["a"].send(frame(B, A))
    assert [len(net.cards[name].received) for name in "ac"] == [1, 1]
    assert [packet.data for packet in uplink.sent] == [frame(B, A)]
    joint.close()
    joint.close()
    uplink.come(frame(EVERYBODY, B))
    assert not net.cards["a"].received
    assert Card(uplink).send(frame(B, A)) == 1


def test_a_port_that_was_joined_stays_joined_whoever_keeps_the_joint(net: Net) -> None:
    uplink = Behind()
    net.bridge.join(uplink, "uplink")
    gc.collect()
    uplink.come(frame(EVERYBODY, B))
    net.cards["a"].send(frame(B, A))
    assert [packet.data for packet in uplink.sent] == [frame(B, A)]


def test_a_joined_port_that_is_full_loses_frames_and_delays_nobody(net: Net) -> None:
    uplink = Behind(room=2)
    joint = net.bridge.join(uplink, "uplink")
    uplink.come(frame(EVERYBODY, B))
    assert net.cards["a"].send(*[frame(B, A)] * 5, frame(C, A)) == 6
    assert len(uplink.sent) == 2
    assert joint.inner.statistics().dropped == {"untaken": 4}  # the last was for everybody
    assert len(net.cards["c"].received) == 2


def test_bridges_in_a_ring_do_not_hang() -> None:
    one, other = Bridge(), Bridge()
    joints = [one.join(other.port(name), name) for name in ("left", "right")]
    card = Card(one.port("card"))
    card.send(frame(EVERYBODY, A))
    drops = [port.statistics().dropped for port in (*one.ports, *other.ports)]
    assert sum(dropped.get("depth", 0) for dropped in drops) > 0
    for joint in joints:
        joint.close()


@contextmanager
def talking(net: Net, *names: str) -> Iterator[None]:
    """While each of these sends to all others, and to everybody, without an end."""
    stop = threading.Event()

    def talk(name: str) -> None:
        others = [frame(f"00:16:3e:00:00:0{other}", f"00:16:3e:00:00:0{name}") for other in "abcdef"]
        while not stop.is_set():
            net.cards[name].send(*others, frame(EVERYBODY, f"00:16:3e:00:00:0{name}"))

    threads = [threading.Thread(target=talk, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)


def test_ports_come_and_go_while_traffic_flows() -> None:
    net = Net("a", "b", "c")
    with talking(net, "a", "b", "c"):
        for number, name in zip(range(60), (name for _ in count() for name in "def"), strict=False):
            card = net.add(name, mirror=number % 5 == 4)
            card.send(frame(EVERYBODY, f"00:16:3e:00:00:0{name}"))
            assert len(card.wait(1)) >= 1
            card.close()
            net.ports[name].close()
            card.received  # noqa: B018
            assert not card.wait(1, timeout=0.001)
    assert [port.name for port in net.bridge.ports] == ["a", "b", "c"]
    assert all(net.ports[name].statistics().delivered for name in "abc")
