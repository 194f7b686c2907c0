"""Anything in a card's rings, and any frame from its network, by the million.

For longer: python -m tests.unit.backends.vif.test_ring_fuzz SEED ROUNDS
"""

from __future__ import annotations

import sys
import time

from hypothesis import given, settings, strategies as st

from tests.unit.backends.vif.conftest import ALL, Wired
from tests.unit.backends.vif.packets import ICMP, UDP, frame
from xenia.backends.vif.features import Features
from xenia.machine.thread import HostThread
from xenia.testing.netfront_fuzz import Fuzz, Fuzzed, Judge

BODY = bytes(range(256))
HEADERS = [
    frame(BODY), frame(BODY, version=6), frame(BODY, protocol=UDP), frame(BODY, protocol=UDP, version=6),
    frame(BODY, tag=5), frame(BODY, fragment=0x2000), frame(BODY, protocol=ICMP), BODY,
]  # fmt: skip


def fuzz(seed: int, rounds: int, calm: int, features: Features, *, scribble: bool = False) -> Fuzzed:
    """What came of it; nothing is held afterwards."""
    network = Judge()
    wired = Wired(network, features=features, serve=False)
    read_only = wired.front.guest.share(2, writable=False)
    refs = [*wired.guest.tx_pages.refs[:8], *wired.guest.rx_pages.refs[:6], *read_only.refs]
    run = Fuzz(wired.queues[0], network, wired.guest, refs, HEADERS)
    scribbler = HostThread(run.scribble, "scribbler")
    try:
        if scribble:
            scribbler.start()
        return run.run(seed, rounds, calm)
    finally:
        scribbler.end()
        run.close()
        wired.close()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**62),
    calm=st.sampled_from([1, 3, 30, 1000]),
    features=st.builds(Features, *[st.booleans()] * 5, headroom=st.sampled_from([0, 0, 256, 0x7FFF])),
)
def test_whatever_is_in_the_rings_nothing_is_believed_that_cannot_be(seed: int, calm: int, features: Features) -> None:
    fuzzed = fuzz(seed, 3000, calm, features)
    assert fuzzed.requests > 20_000


def test_a_million_requests_and_frames() -> None:
    fuzzed = [fuzz(seed, 20_000, calm, ALL) for seed, calm in enumerate([2, 30, 1000])]
    assert sum(each.requests + each.came for each in fuzzed) >= 1_000_000
    assert sum(each.faults for each in fuzzed) > 1000
    assert min(each.sent for each in fuzzed) > 1000


def test_rings_that_change_while_they_are_looked_at() -> None:
    fuzzed = fuzz(1, 20_000, 1000, ALL, scribble=True)
    assert fuzzed.sent > 1000
    assert fuzzed.faults > 0


if __name__ == "__main__":
    first, rounds = int(sys.argv[1]), int(sys.argv[2])
    for seed in range(first, first + rounds):
        began = time.monotonic()
        features = Features(*[bool(seed >> bit & 1) for bit in range(5)])._replace(headroom=256 * (seed >> 6 & 1))
        done = fuzz(seed, 50_000, [1, 5, 30, 1000][seed % 4], features, scribble=bool(seed & 32))
        print(f"seed {seed}: {done} in {time.monotonic() - began:.1f} s", flush=True)
