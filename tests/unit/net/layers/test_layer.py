"""What every layer does, shown by the guard."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from xenia.errors import ConfigError
from xenia.net.layer import Layer
from xenia.net.layers.guard import Guard
from xenia.net.layers.stack import build, change, counts_of, guard_of, layers_of
from xenia.net.layers.words import parse_changes, parse_layers
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
        ([("delay", "1ms"), ("delay", "1ms"), ("delay", "1ms")], "has no layer left for delay="),
        ([("spoof", "allow")], "spoof= is said when a card is plugged in"),
    ):
        with pytest.raises(ConfigError, match=complaint):
            change(stack, parse_layers(words))
    card.close()
    stack.close()


def test_layers_are_put_into_a_card_that_was_plugged_in_without_and_taken_out() -> None:
    network = Behind()
    stack = build((), network, mac=MAC)
    card = Card(stack)
    change(stack, parse_changes([("loss", "100%"), ("firewall", "in:deny")]))
    assert [layer.kind for layer in layers_of(stack)] == ["capture", "guard", "firewall", "netem"]
    card.send(good(1))
    network.come(good(2))
    change(stack, parse_changes([("loss", "off")]))
    assert [layer.kind for layer in layers_of(stack)] == ["capture", "guard", "firewall"]
    card.send(good(3))
    network.come(good(4))
    change(stack, parse_changes([("firewall", "off")]))
    assert [layer.kind for layer in layers_of(stack)] == ["capture", "guard"]
    network.come(good(5))
    assert ([one.data for one in network.sent], [one.data for one in card.received]) == ([good(3)], [good(5)])
    card.close()
    stack.close()


def test_one_word_of_a_layer_is_taken_away_and_those_that_lean_on_it_hold_it() -> None:
    stack = build((), Behind(), mac=MAC)
    change(stack, parse_changes([("delay", "0ms"), ("loss", "100%"), ("jitter", "0ms")]))
    change(stack, parse_changes([("jitter", "off")]))
    assert list(layers_of(stack))[2].counts()["words"] == {"delay": "0ms", "loss": "100%"}
    change(stack, parse_changes([("delay", "20ms"), ("jitter", "5ms")]))
    with pytest.raises(ConfigError, match="jitter= wants a delay="):
        change(stack, parse_changes([("delay", "off")]))
    change(stack, parse_changes([("delay", "off"), ("jitter", "off")]))
    assert len(list(layers_of(stack))) == 2
    change(stack, parse_changes([("delay", "off")]))
    stack.close()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([("spoof", "off")], "spoof= is said when a card is plugged in, and stays"),
        ([("spoof", "allow")], "spoof= is said when a card is plugged in, and stays"),
        ([("capture", "off")], "capture= is said"),
        ([("dealy", "off")], "names no layer"),
        ([("delay", "off"), ("delay", "1ms")], "which is it"),
    ],
)
def test_the_guard_stays_whatever_is_said_of_a_card_that_is_plugged_in(
    words: list[tuple[str, str]], complaint: str
) -> None:
    stack = build((), Behind(), mac=MAC)
    with pytest.raises(ConfigError, match=complaint):
        change(stack, parse_changes(words))
    assert guard_of(stack).enabled


def test_frames_keep_their_number_and_order_while_filters_come_and_go() -> None:
    network = Behind()
    stack = build((), network, mac=MAC)
    card = Card(stack)
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            for words in ([("delay", "3ms"), ("firewall", "out:allow")], [("delay", "off"), ("firewall", "off")]):
                change(stack, parse_changes(words))

    found: list[bytes] = []
    with ThreadPoolExecutor(1) as others:
        changing = others.submit(come_and_go)
        try:
            for number in range(2000):
                assert card.send(GOOD + number.to_bytes(4) * 12) == 1
                found += [packet.data for packet in network.sent]
        finally:
            over.set()
    changing.result()
    until = time.monotonic() + 10
    while len(found) < 2000 and time.monotonic() < until:
        found += [packet.data for packet in network.sent]
    assert found == [GOOD + number.to_bytes(4) * 12 for number in range(2000)]
    card.close()
    stack.close()
