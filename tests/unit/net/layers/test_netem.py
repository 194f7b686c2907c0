"""Slow networks, under a clock that stands still, and one under the host's."""

import math
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings, strategies as st

from xenia.net.layers import timers
from xenia.net.layers.netem import Netem
from xenia.net.layers.words import NetemSpec, parse_layers
from xenia.testing.net import Behind, Card
from xenia.testing.netem import StillNetem
from xenia.testing.packet import Packet

MS = 1_000_000
GSO = Packet(bytes(range(256)) * 250, flags=1, gso_type=1, hdr_len=54, gso_size=1448, csum_start=34, csum_offset=16)


def spec(text: str) -> NetemSpec:
    (found,) = parse_layers(tuple(word.split("=", 1)) for word in text.split(","))  # type: ignore[misc]
    assert isinstance(found, NetemSpec)
    return found


class Network:
    """A card, a slow layer, and what lies behind it."""

    def __init__(self, text: str, room: int | None = None) -> None:
        self.behind = Behind(room)
        self.layer = StillNetem(self.behind, spec(text))
        self.card = Card(self.layer)

    def send(self, count: int, size: int = 100, first: int = 0) -> int:
        """Frames by number, in batches; how many were taken."""
        done = 0
        while done < count:
            batch = [number.to_bytes(4).ljust(size, b".") for number in range(first + done, first + count)[:64]]
            taken = self.card.send(*batch)
            done += taken
            if taken < len(batch):
                break
        return done

    def come(self, count: int, size: int = 100) -> None:
        for first in range(0, count, 64):
            self.behind.come(*(n.to_bytes(4).ljust(size, b".") for n in range(first, min(first + 64, count))))

    @property
    def sent(self) -> list[int]:
        """The numbers of those that came out at the network's end, since this was asked last."""
        return [int.from_bytes(packet.data[:4]) for packet in self.behind.sent]

    @property
    def received(self) -> list[int]:
        return [int.from_bytes(packet.data[:4]) for packet in self.card.received]


def test_what_is_delayed_comes_whole_and_in_order_when_it_is_due() -> None:
    network = Network("delay=20ms")
    assert network.card.send(GSO, b"second".ljust(60)) == 2
    network.layer.advance(20 * MS - 1)
    assert network.behind.sent == []
    network.layer.advance(1)
    assert network.behind.sent == [GSO, Packet(b"second".ljust(60))]
    assert network.layer.counts()["out"] == {"held": 0, "bytes": 0, "delayed": 2, "reordered": 0, "duplicated": 0}


def test_each_direction_has_its_own_delay() -> None:
    network = Network("delay=in:20ms,delay=out:5ms")
    network.send(1)
    network.come(1)
    network.layer.advance(5 * MS)
    assert (network.sent, network.received) == ([0], [])
    network.layer.advance(15 * MS)
    assert (network.sent, network.received) == ([], [0])


def test_one_direction_alone_leaves_the_other_as_it_is() -> None:
    network = Network("loss=in:100%")
    network.send(3)
    network.come(3)
    assert (network.sent, network.received) == ([0, 1, 2], [])
    assert network.layer.counts()["dropped"] == {"in": {"loss": 3}}


@pytest.mark.parametrize(("share", "lost"), [("1%", 215), ("10%", 2050), ("50%", 10090)])
def test_a_share_is_lost_and_the_same_of_the_same_seed(share: str, lost: int) -> None:
    first, second, other = (Network(f"loss=out:{share},seed={seed}") for seed in (7, 7, 8))
    for network in (first, second, other):
        network.send(20000)
    kept = first.sent
    assert kept == second.sent != other.sent
    assert kept == sorted(set(kept))
    assert first.layer.counts()["dropped"] == {"out": {"loss": 20000 - len(kept)}}
    chance = float(share[:-1]) / 100
    assert abs(20000 - len(kept) - 20000 * chance) < 4 * math.sqrt(20000 * chance * (1 - chance))
    assert 20000 - len(kept) == lost


def test_losses_come_in_runs() -> None:
    network = Network("loss=5%:run=10,seed=1")
    network.send(40000)
    lost = sorted(set(range(40000)) - set(network.sent))
    runs = sum(number - 1 not in set(lost) for number in lost)
    assert 0.04 < len(lost) / 40000 < 0.06
    assert 8 < len(lost) / runs < 12


def test_frames_come_twice_and_overtake() -> None:
    network = Network("delay=10ms,reorder=25%,duplicate=10%,seed=3")
    network.send(4000)
    network.layer.advance(0)
    early = network.sent
    network.layer.advance(10 * MS)
    late = network.sent
    counts = network.layer.counts()["out"]
    assert early == sorted(early) and late == sorted(late), "each kind keeps its order"
    assert len(set(early)) == counts["reordered"] and 900 < counts["reordered"] < 1100
    assert set(early) | set(late) == set(range(4000))
    assert len(early) + len(late) == 4000 + counts["duplicated"] and 330 < counts["duplicated"] < 470


@pytest.mark.parametrize(("kind", "spread"), [("uniform", 5 / math.sqrt(3)), ("normal", 5)])
def test_jitter_is_distributed_as_it_is_asked_for(kind: str, spread: float) -> None:
    network = Network(f"delay=100ms,jitter=5ms:{kind},seed=5")
    delays = []
    for number in range(400):
        network.send(1, first=number)
        elapsed = 0
        while not (came := network.sent):
            network.layer.advance(MS // 4)
            elapsed += 1
        assert came == [number]
        delays.append(elapsed / 4)
    mean = sum(delays) / len(delays)
    deviation = math.sqrt(sum((delay - mean) ** 2 for delay in delays) / len(delays))
    assert abs(mean - 100) < 1 and abs(deviation - spread) < spread / 8
    assert kind == "normal" or all(95 <= delay <= 105.25 for delay in delays)


def test_jitter_keeps_the_order() -> None:
    network = Network("delay=10ms,jitter=10ms,seed=5")
    for first in range(0, 1000, 10):
        network.send(10, first=first)
        network.layer.advance(MS)
    network.layer.advance(20 * MS)
    assert network.sent == list(range(1000))


def test_a_rate_is_kept_after_a_burst_and_who_sends_too_much_is_called() -> None:
    network = Network("limit=out:8Mb/s:burst=10K:queue=64K")
    sent = network.send(1000, 1000)
    came = len(network.sent)
    assert came == 11, "a burst, and the one that exceeds it"
    assert came + 64 <= sent <= came + 67
    for _ in range(1, 20):
        network.layer.advance(MS)
        assert abs(len(network.sent) - 1) <= 1
    assert network.card.nr_ready == 0
    network.layer.advance(20 * MS)
    assert network.card.nr_ready == 1, "when half of its queue is free"
    assert network.layer.counts()["dropped"] == {}


def test_towards_a_guest_what_has_no_room_is_dropped() -> None:
    network = Network("limit=in:8Mb/s:burst=0:queue=64K")
    network.come(100, 1000)
    network.layer.advance(200 * MS)
    assert network.received == list(range(66))
    assert network.layer.counts()["dropped"] == {"in": {"full": 34}}


def test_a_segment_that_is_to_be_cut_counts_with_the_headers_of_all() -> None:
    network = Network("limit=out:8Mb/s:burst=0:queue=1M")
    network.card.send(GSO, b"next".ljust(60))
    cut = 64000 + 54 * ((64000 - 54 - 1) // 1448)
    network.layer.advance(cut * 1000 - 1)
    assert network.behind.sent == [GSO]
    network.layer.advance(1)
    assert network.behind.sent == [Packet(b"next".ljust(60))]


def test_a_delay_does_not_narrow_a_rate() -> None:
    network = Network("limit=out:80Mb/s:burst=0:queue=64K,delay=500ms")
    done = came = 0
    for _ in range(1500):
        done += network.send(200, 1000, first=done)
        network.layer.advance(MS)
        came += len(network.sent)
    assert 9900 <= came <= 10001, "a second's worth, after half a second"


def test_memory_is_bounded_both_by_frames_and_by_bytes() -> None:
    network = Network("delay=1s")
    assert network.send(10000, 60) == 8192
    assert network.card.nr_ready == 0
    network.layer.advance(1000 * MS)
    assert network.card.nr_ready == 1 and len(network.sent) == 8192
    assert 250 < network.send(400, 65000) < 260
    network.come(400, 65000)
    assert network.layer.counts()["in"]["bytes"] <= 16 << 20
    assert network.layer.counts()["dropped"]["in"]["full"] > 100


def test_what_the_port_below_does_not_take_waits_and_is_not_judged_again() -> None:
    network = Network("loss=50%,seed=9", room=5)
    assert network.send(64) == 64
    first = network.sent
    assert len(first) == 5
    network.behind.make_room(10)
    second = network.sent
    network.behind.make_room(None)
    third = network.sent
    free = Network("loss=50%,seed=9")
    free.send(64)
    assert first + second + third == free.sent and len(second) == 10


def test_it_can_be_changed_while_frames_are_on_their_way() -> None:
    network = Network("delay=100ms")
    network.send(2)
    network.layer.configure(spec("loss=100%"))
    network.send(2, first=2)
    network.layer.configure(NetemSpec())
    network.layer.advance(100 * MS)
    network.send(1, first=4)
    assert network.sent == [0, 1, 4]


def test_what_is_held_back_stays_before_what_comes_after_a_change() -> None:
    network = Network("delay=100ms")
    network.send(2)
    network.come(2)
    network.layer.configure(NetemSpec())
    network.send(1, first=2)
    network.come(3)
    assert (network.sent, network.received) == ([], [])
    network.layer.advance(100 * MS)
    network.send(1, first=3)
    assert (network.sent, network.received) == ([0, 1, 2, 3], [0, 1, 0, 1, 2])


def test_a_layer_that_is_off_tells_who_sends_how_much_was_taken_and_when_there_is_room() -> None:
    network = Network("delay=0ms", room=1)
    network.layer.configure(NetemSpec())
    assert network.layer.asleep
    assert network.card.send(*[b"x" * 60] * 3) == 1
    network.behind.make_room(None)
    assert network.card.nr_ready >= 1
    assert network.card.send(*[b"x" * 60] * 2) == 2
    assert len(network.behind.sent) == 3


def test_who_leaves_hears_nothing_of_what_was_held_back() -> None:
    network = Network("delay=10ms")
    network.come(5)
    network.card.close()
    card = Card(network.layer)
    network.layer.advance(20 * MS)
    assert card.received == []
    assert network.layer.counts()["in"]["held"] == 0


WORDS = st.fixed_dictionaries(
    {"delay": st.integers(0, 50)},
    optional={
        "jitter": st.integers(0, 50),
        "loss": st.sampled_from(["1%", "30%", "5%:run=3"]),
        "reorder": st.sampled_from(["10%", "100%"]),
        "duplicate": st.sampled_from(["20%", "100%"]),
        "limit": st.sampled_from(["1Mb/s:burst=0", "8Mb/s", "100Mb/s:queue=64K"]),
    },
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 64), st.integers(60, 3000)),
        st.tuples(st.just("come"), st.integers(1, 64), st.integers(60, 3000)),
        st.tuples(st.just("advance"), st.integers(0, 60), st.just(0)),
        st.tuples(st.just("room"), st.integers(0, 100), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(WORDS, STEPS)
def test_every_frame_comes_as_often_as_it_should_or_is_counted(
    words: dict[str, int | str], steps: list[tuple[str, int, int]]
) -> None:
    words["delay"] = int(words["delay"]) + int(words.get("jitter", 0)) + 1
    text = ",".join(f"{word}={value}ms" if word in ("delay", "jitter") else f"{word}={value}"
                    for word, value in words.items())  # fmt: skip
    network = Network(f"{text},seed=1" if len(words) > 1 else text, room=50)
    taken, came = 0, 0
    for step, count, size in steps:
        if step == "send":
            taken += network.send(count, size, first=taken)
        elif step == "come":
            network.come(count, size)
            came += count
        elif step == "advance":
            network.layer.advance(count * MS)
        else:
            network.behind.make_room(count)
    network.behind.make_room(None)
    network.layer.advance(200_000 * MS)
    counts = network.layer.counts()
    sent, received = network.sent, network.received
    dropped = {way: sum(counts["dropped"].get(way, {}).values()) for way in ("in", "out")}
    assert len(sent) == taken - dropped["out"] + counts["out"]["duplicated"]
    assert len(received) == came - dropped["in"] + counts["in"]["duplicated"]
    assert set(sent) <= set(range(taken))
    assert "full" not in counts["dropped"].get("out", {})
    if "reorder" not in words:
        assert sent == sorted(sent)
    assert counts["in"]["held"] == counts["out"]["held"] == 0


@pytest.fixture
def real() -> Iterator[tuple[Behind, Card, Card]]:
    """Two layers under the host's clock, each with a card."""
    behind = Behind()
    first = Netem(behind, spec("delay=30ms"))
    second = Netem(Behind(), spec("delay=1s"))
    cards = Card(first), Card(second)
    yield behind, *cards
    for card, layer in zip(cards, (first, second), strict=True):
        card.close()
        layer.close()


def test_one_thread_wakes_for_all_layers_and_ends_with_them(real: tuple[Behind, Card, Card]) -> None:
    behind, card, other = real
    assert sum(thread.name == "timers" for thread in threading.enumerate()) == 1
    other.send(b"later".ljust(60))
    begun = time.monotonic()
    behind.come(b"sooner".ljust(60))
    card.send(b"there".ljust(60))
    (packet,) = card.wait()
    assert packet.data == b"sooner".ljust(60)
    assert time.monotonic() - begun >= 0.030


def test_no_thread_is_left() -> None:
    assert timers._loop is None
    layer = Netem(Behind(), spec("delay=1ms"))
    layer.close()
    layer.close()
    assert timers._loop is None
    assert not [thread for thread in threading.enumerate() if thread.name == "timers"]
