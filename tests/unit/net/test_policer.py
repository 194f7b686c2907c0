"""What one guest may send another: all, unless that one talks with others and does not answer.

Of the policy there are no clocks: the times are the tests' own.
"""

from __future__ import annotations

import time
from itertools import count

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet as Layers, Raw

from xenia.net.bridge import Bridge, BridgePort
from xenia.net.policer import Policer
from xenia.net.share import Shares
from xenia.testing.net import Card

US, MS, SECOND = 1000, 1000000, 1000000000
ONE, OTHER = 1, 2  # peers
BURST, LIMIT, SCARCE = 250, 1000, 125  # frames; and frames a second
FLOODER, GUEST, FRIEND = (f"00:16:3e:00:00:0{digit}" for digit in "123")


def passed(policer: Policer, begin: int, rate: int, *, answers: int = 0, others: int = 0, seconds: int = 2) -> int:
    """Of so many frames a second that come from one peer, how many the guest gets each second.

    answers   after how many of these it answers them; 0: never
    others    answers to another one in each second
    """
    through, said = 0, 0
    for number in range(rate * seconds):
        now = begin + number * SECOND // rate
        while said * SECOND < (now - begin) * others:
            policer.answered(OTHER, now)
            said += 1
        through += policer.allows(ONE, now)
        if answers and number % answers == 0:
            policer.answered(ONE, now)
    return through // seconds


def test_a_guest_that_talks_with_nobody_else_is_sent_all() -> None:
    policer = Policer()
    assert passed(policer, SECOND, 50_000) == 50_000
    assert passed(policer, 10 * SECOND, 50_000, answers=500) == 50_000


def test_what_is_not_answered_is_limited_while_a_guest_talks_with_another() -> None:
    policer = Policer()
    assert passed(policer, SECOND, 2 * LIMIT, others=1000, seconds=10) == pytest.approx(LIMIT, rel=0.2)
    assert passed(policer, 20 * SECOND, LIMIT, others=1000) == LIMIT
    assert passed(policer, 30 * SECOND, 50_000) == 50_000  # and no longer


def test_a_guest_that_wants_what_it_does_not_answer_is_sent_all_of_it() -> None:
    policer = Policer()
    policer.takes_all = True
    assert passed(policer, SECOND, 50_000, others=1000) == 50_000
    port = Bridge().port("collector", unanswered=True, policer=(given := Policer()))
    assert given.takes_all and port.name == "collector"


def test_a_word_now_and_then_is_no_conversation() -> None:
    assert passed(Policer(), SECOND, 50_000, others=20, seconds=10) == 50_000


@pytest.mark.parametrize("answers", [1, 2, 64])
def test_what_is_answered_passes_whoever_else_the_guest_talks_with(answers: int) -> None:
    assert passed(Policer(), SECOND, 50_000, answers=answers, others=10_000) == 50_000


def test_answers_do_not_save_up_more_than_a_burst() -> None:
    policer = Policer()
    for number in range(1000):
        policer.answered(ONE, SECOND + number * US)
        policer.answered(OTHER, SECOND + number * US)
    assert sum(policer.allows(ONE, SECOND + MS) for _ in range(5000)) <= BURST + 1


def test_peers_are_limited_each_for_itself() -> None:
    policer = Policer()
    now = 3 * SECOND
    passed(policer, SECOND, 50_000, others=1000)
    for _ in range(20):
        policer.answered(3, now)
    assert sum(policer.allows(ONE, now) for _ in range(100)) < 2
    assert sum(policer.allows(OTHER, now) for _ in range(100)) == 100


def test_who_loses_more_than_as_many_again_waits() -> None:
    share = Shares().enter()
    policer, waited = Policer(share), 0
    for number in range(5000):
        now = SECOND + number * MS // 2
        until = policer.lost(now)
        assert (share.allow(now) == 0) == (until > now)
        waited += until > now
        assert until == 0 or share.wait_until == until
    assert waited == pytest.approx(5000 - 2 * BURST, abs=2)
    assert share.allow(SECOND + 10 * SECOND) > 0
    assert policer.lost(20 * SECOND) == 0


def test_of_a_flood_little_passes_until_it_is_over() -> None:
    policer = Policer()
    passed(policer, SECOND, 50_000, others=1000, seconds=1)
    assert passed(policer, 2 * SECOND, 50_000, others=1000, seconds=10) <= SCARCE
    assert passed(policer, 12 * SECOND + SECOND // 2, LIMIT, others=1000) == LIMIT


def test_what_is_a_little_too_much_passes_but_for_that() -> None:
    assert passed(Policer(), SECOND, 3 * LIMIT // 2, others=1000, seconds=10) == pytest.approx(LIMIT, rel=0.1)


def test_who_floods_waits_in_few_pauses() -> None:
    share = Shares().enter()
    own, receiver = Policer(share), Policer()
    now, sent, through, pauses = SECOND, 0, 0, 0
    while now < 11 * SECOND:
        if share.allow(now) == 0:
            now = share.wait_until
            pauses += 1
        for _ in range(10):
            receiver.answered(OTHER, now)
        sent += 1
        if receiver.allows(ONE, now):
            through += 1
        else:
            own.lost(now)
        now += 2 * US
    assert pauses <= 320
    assert 10 * LIMIT <= sent <= 11 * LIMIT + 10 * SCARCE
    assert through <= 10 * SCARCE + 2 * BURST


def test_who_loses_a_frame_now_and_then_never_waits() -> None:
    policer = Policer(Shares().enter())
    assert not any(policer.lost(SECOND + number * MS) for number in range(5000))


# --- at a bridge


class Place:
    """Two guests and a third port, which is no guest's."""

    def __init__(self) -> None:
        self.bridge = Bridge()
        self.flooder, self.guest, self.way_out = (
            self.bridge.port(name, macs=[mac], policer=policer)
            for name, mac, policer in (
                ("flooder", FLOODER, Policer()),
                ("guest", GUEST, Policer()),
                ("out", FRIEND, None),
            )
        )
        self.cards = {port.name: Card(port) for port in (self.flooder, self.guest, self.way_out)}

    def send(self, sender: BridgePort, packet: bytes, frames: int = 64) -> None:
        """So many of one."""
        for _ in range(frames // 64):
            self.cards[sender.name].send(*[packet] * 64)

    def unanswered(self, port: BridgePort) -> int:
        """How many of its frames were dropped for that."""
        assert port.statistics().dropped.keys() <= {"unanswered"}
        return port.statistics().dropped.get("unanswered", 0)


def packet(source: str, target: str, *layers: Layers) -> bytes:
    """In an Ethernet frame."""
    made = Ether(src=source, dst=target)
    for layer in layers:
        made /= layer
    return bytes(made)


FLOOD = packet(FLOODER, GUEST, IP(), UDP(dport=9), Raw(b"x" * 22))
TALK, REPLY = packet(GUEST, FRIEND, IP(), UDP()), packet(FRIEND, GUEST, IP(), UDP())
EVERYBODY, LOUD = "ff:ff:ff:ff:ff:ff", "00:16:3e:00:00:08"


@pytest.mark.parametrize(
    ("answer", "counts"),
    [
        ([IP(), UDP()], True),
        ([IPv6(), UDP()], True),
        ([IP(), TCP(flags="A")], True),
        ([IP(options=b"\1" * 8), TCP(flags="FA")], True),
        ([IPv6(), TCP(flags="PA")], True),
        ([IP(proto=47), Raw(b"x")], True),
        ([Dot1Q(vlan=0), IP(), TCP(flags="A")], True),
        ([IP(), TCP(flags="SA")], False),
        ([IP(), TCP(flags="R")], False),
        ([IP(options=b"\1" * 8), TCP(flags="RA")], False),
        ([IPv6(), TCP(flags="RA")], False),
        ([Dot1Q(vlan=0), IP(), TCP(flags="RA")], False),
        ([IP(), ICMP(type=0)], False),
        ([IPv6(), ICMPv6EchoReply()], False),
        ([ARP(op=2)], False),
        ([Raw(b"short")], False),
    ],
    ids=str,
)
def test_who_is_answered_floods_nobody_and_refusals_are_no_answers(answer: list[Layers], counts: bool) -> None:
    place = Place()
    for _ in range(100):
        place.send(place.guest, TALK)
        place.send(place.guest, packet(GUEST, FLOODER, *answer))
        place.send(place.flooder, FLOOD)
    assert (place.unanswered(place.flooder) == 0) == counts
    assert place.unanswered(place.guest) == 0


def test_a_flood_of_a_guest_is_dropped_and_counted_while_it_talks_with_another_and_that_is_not() -> None:
    place = Place()
    place.send(place.flooder, FLOOD, 6400)
    assert place.unanswered(place.flooder) == 0
    for _ in range(100):
        place.send(place.guest, TALK)
        place.send(place.flooder, FLOOD, 640)
        place.send(place.way_out, REPLY, 640)
    lost = place.unanswered(place.flooder)
    assert lost > 20_000 and place.unanswered(place.way_out) == 0
    assert place.guest.statistics().delivered == 6400 + 2 * 64_000 - lost


def test_what_goes_to_everybody_is_limited_for_who_talks_with_another_and_for_nobody_else() -> None:
    place = Place()
    other = place.bridge.port("other", macs=["00:16:3e:00:00:09"], policer=Policer())
    idle, shout = Card(other), packet(FLOODER, EVERYBODY, IP(), UDP())
    for _ in range(80):
        place.send(place.guest, TALK)
        place.send(place.flooder, shout)
    assert place.flooder.statistics().dropped["limit"] > 0  # what is one guest's share at all
    flooded = place.flooder.statistics().flooded
    assert len(idle.received) == place.way_out.statistics().delivered - 80 * 64 == flooded
    lost = place.flooder.statistics().dropped["unanswered"]
    assert len(place.cards["guest"].received) == flooded - lost < flooded // 2
    idle.close()


@pytest.mark.parametrize("other", ["takes it", "is not there", "is of another VLAN"])
def test_who_floods_everybody_waits_where_nobody_takes_it(other: str) -> None:
    place, share = Place(), Shares().enter()
    if other != "takes it":
        place.cards["flooder"].close()
        place.flooder.close()
    if other == "is of another VLAN":
        place.cards["other"] = Card(place.bridge.port("other", macs=[FLOODER], vlan=7, policer=Policer()))
    loud = place.bridge.port("loud", macs=[LOUD], policer=Policer(share))
    place.cards["loud"], shout = Card(loud), packet(LOUD, EVERYBODY, IP(), UDP())
    for _ in range(16):
        place.send(place.guest, TALK)
        place.send(loud, shout)
    assert loud.statistics().dropped["unanswered"] > BURST
    assert (share.wait_until > time.monotonic_ns()) == (other != "takes it")


def test_what_guests_send_elsewhere_is_not_limited() -> None:
    place = Place()
    for _ in range(100):
        place.send(place.guest, TALK)
        place.send(place.way_out, REPLY)
        place.send(place.flooder, packet(FLOODER, FRIEND, IP(), UDP()), 640)
    assert place.unanswered(place.flooder) == 0


def test_a_port_has_nothing_of_the_one_that_was_in_its_place() -> None:
    place, numbers = Place(), count()
    for _ in range(80):
        place.cards["flooder"].close()
        place.flooder.close()
        place.flooder = place.bridge.port(f"flooder{next(numbers)}", macs=[FLOODER], policer=Policer())
        place.cards["flooder"] = place.cards[place.flooder.name] = Card(place.flooder)
        place.send(place.guest, TALK)
        place.send(place.flooder, FLOOD, 192)
        assert place.unanswered(place.flooder) == 0
