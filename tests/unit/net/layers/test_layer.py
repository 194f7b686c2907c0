"""What every layer does, shown by the guard."""

import pytest

from xenia.errors import ConfigError
from xenia.net.layer import Layer
from xenia.net.layers.guard import Guard
from xenia.net.layers.stack import build, change, counts_of, guard_of, layers_of
from xenia.net.layers.words import parse_layers
from xenia.testing.net import Behind, Card

MAC = "00:16:3e:00:00:01"
GOOD = bytes(6) + bytes.fromhex("00163e000001") + b"\x88\xb5"
BAD = bytes(12) + b"\x88\xb5"


def good(number: int) -> bytes:
    return GOOD + bytes([number]) * 46


def test_frames_pass_both_ways_through_as_many_layers_as_there_are() -> None:
    network = Behind()
    card = Card(Layer(Layer(Layer(network))))
    assert card.send(good(1), good(2)) == 2
    network.come(good(3))
    assert [packet.data for packet in network.sent] == [good(1), good(2)]
    assert [packet.data for packet in card.received] == [good(3)]


def test_who_sends_hears_how_much_of_a_batch_is_done_with() -> None:
    network = Behind(room=2)
    guard = Guard(network, MAC)
    card = Card(guard)
    batch = [good(1), BAD, good(2), BAD, good(3), BAD]
    assert card.send(*batch) == 4, "what is dropped after the last that was taken is done with too"
    assert guard.counts()["dropped"] == {"out": {"mac": 2}}
    assert card.send(*batch[4:]) == 0
    network.make_room(None)
    assert card.nr_ready == 1
    assert card.send(*batch[4:]) == 2
    assert guard.counts()["dropped"] == {"out": {"mac": 3}}, "each is counted once"
    assert [packet.data for packet in network.sent] == [good(1), good(2), good(3)]


def test_what_is_dropped_before_a_frame_that_has_to_wait_is_not_sent_again() -> None:
    network = Behind(room=0)
    guard = Guard(network, MAC)
    card = Card(guard)
    assert card.send(BAD, good(1)) == 1
    assert card.send(good(1)) == 0
    assert guard.counts()["dropped"] == {"out": {"mac": 1}}


def test_who_leaves_hears_nothing_and_another_may_come() -> None:
    network = Behind()
    stack = Layer(Guard(Layer(network), MAC))
    first = Card(stack)
    first.close()
    network.come(good(1))
    network.make_room(None)
    second = Card(stack)
    network.come(good(2))
    assert (first.received, first.nr_ready) == ([], 0)
    assert [packet.data for packet in second.received] == [good(2)]


def test_a_cards_stack_is_capture_and_guard_and_what_was_asked_for() -> None:
    network = Behind()
    stack = build(parse_layers([]), network, mac=MAC, addresses=["10.0.2.15"], reserved=["10.0.2.2"])
    assert [layer.kind for layer in layers_of(stack)] == ["capture", "guard"]
    assert guard_of(stack).enabled and guard_of(stack).addresses == ("10.0.2.15",)
    assert Card(stack).send(BAD) == 1
    assert counts_of(stack)[1]["dropped"] == {"out": {"mac": 1}}


def test_a_guest_may_be_allowed_to_spoof() -> None:
    network = Behind()
    stack = build(parse_layers([("spoof", "allow")]), network, mac=MAC)
    assert Card(stack).send(BAD) == 1
    assert [packet.data for packet in network.sent] == [BAD]


def test_layers_that_are_there_are_changed_while_frames_go_by() -> None:
    network = Behind()
    stack = build(parse_layers([("loss", "0%"), ("firewall", "out:allow"), ("loss", "0%")]), network, mac=MAC)
    card = Card(stack)
    change(stack, parse_layers([("firewall", "out:deny")]))
    assert card.send(good(1)) == 1
    change(stack, parse_layers([("firewall", "out:allow"), ("loss", "100%")]))
    assert card.send(good(1)) == 1
    change(stack, parse_layers([("loss", "0%")]))
    assert card.send(good(2)) == 1
    assert [packet.data for packet in network.sent] == [good(2)]
    first, firewall, _ = list(layers_of(stack))[2:]
    assert firewall.counts()["dropped"] == {"out": {"rule": 1}} and first.counts()["dropped"] == {"out": {"loss": 1}}
    for words, complaint in (
        ([("delay", "1ms"), ("delay", "1ms"), ("delay", "1ms")], "without a layer for delay="),
        ([("spoof", "allow")], "spoof= is said when a card is plugged in"),
    ):
        with pytest.raises(ConfigError, match=complaint):
            change(stack, parse_layers(words))
    card.close()
    stack.close()
