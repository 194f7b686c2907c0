"""Shares of a loop's time: who competes with nobody waits for nobody, and who takes too much waits.

There are no clocks: the times are the tests' own.
"""

from __future__ import annotations

from xenia.net.share import Share, Shares

US, MS = 1000, 1000000


class Guest:
    """One that has always something to do, which takes `cost` ns at a time; or something every `every` ns."""

    def __init__(self, share: Share, cost: int, every: int = 0) -> None:
        self.share, self.cost, self.every = share, cost, every
        self.next, self.done, self.worst = 0, 0, 0

    def serve(self, now: int) -> int:
        """When its turn is over."""
        if self.next > now:
            return now
        allowed = self.share.allow(now)
        began = now
        while now - began < allowed and self.next <= now:
            self.worst = max(self.worst, now + self.cost - self.next) if self.every else 0
            now += self.cost
            self.done += 1
            self.next = now + self.every if self.every else 0
        self.share.spend(now - began)
        return now


def run(guests: list[Guest], until: int) -> None:
    """A loop that goes round."""
    now = 0
    while now < until:
        now += US
        for guest in guests:
            now = guest.serve(now)


def test_who_competes_with_nobody_is_served_all_the_time() -> None:
    shares = Shares()
    one, _idle = Guest(shares.enter(), 10 * US), shares.enter()
    run([one], 100 * MS)
    assert one.done * one.cost > 95 * MS
    assert one.share.nr_waits == 0


def test_two_that_want_all_have_half_each_whatever_one_thing_costs() -> None:
    shares = Shares()
    small, large = Guest(shares.enter(), 2 * US), Guest(shares.enter(), 400 * US)
    run([small, large], 1000 * MS)
    assert 400 * MS < large.done * large.cost < 600 * MS
    assert 400 * MS < small.done * small.cost < 600 * MS


def test_who_asks_now_and_then_waits_for_a_quantum_of_the_others() -> None:
    shares = Shares()
    asking, flooding = Guest(shares.enter(), 10 * US, every=100 * US), Guest(shares.enter(), 5 * US)
    run([asking, flooding], 20 * MS)
    asking.worst = 0
    run([asking, flooding], 1000 * MS)
    assert asking.worst < 100 * US
    assert flooding.share.nr_waits > 0


def test_a_debt_is_waited_for_and_what_was_not_used_is_saved_up_for_a_millisecond() -> None:
    shares = Shares()
    one, two = shares.enter(), shares.enter()
    for share in (one, two):
        share.allow(0)
        share.spend(5 * MS)
    one.allow(20 * MS)
    assert two.allow(20 * MS) == 50 * US
    two.spend(3 * MS)
    assert two.allow(21 * MS) == 0
    assert 23 * MS < two.wait_until <= 24 * MS + US
    assert two.allow(two.wait_until) > 0
    two.spend(2 * MS)
    assert two.allow(two.wait_until - US) == 0


def test_a_frame_that_goes_nowhere_counts_for_more_than_it_takes() -> None:
    shares = Shares()
    one, two = shares.enter(), shares.enter()
    for share in (one, two):
        share.allow(0)
        share.spend(5 * MS)
    for share in (one, two):
        share.allow(20 * MS)
    one.spend(10 * US)
    two.spend(10 * US, wasted=100)
    assert two.wait_until - one.wait_until >= 2 * 100 * 2 * US


def test_who_left_is_not_reckoned_with() -> None:
    shares = Shares()
    one, two = shares.enter(), shares.enter()
    for share in (one, two):
        share.allow(0)
        share.spend(5 * MS)
    one.allow(15 * MS)
    shares.leave(two)
    one.spend(5 * MS)
    assert one.allow(16 * MS) > 0
