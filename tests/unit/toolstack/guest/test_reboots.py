"""A guest that does nothing but reboot is given up."""

from __future__ import annotations

from xenia.toolstack.guest.reboots import MOST, SHORT, Reboots


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def live(reboots: Reboots, clock: Clock, seconds: float) -> bool:
    """Whether a guest that reboots after so long is started again."""
    reboots.started()
    clock.now += seconds
    return reboots.allowed()


def test_ten_short_lives_in_a_row_are_all_that_a_guest_gets() -> None:
    reboots = Reboots(clock := Clock())
    assert [live(reboots, clock, 0.02) for _ in range(MOST)] == [True] * MOST
    assert reboots.too_fast == ""
    assert not live(reboots, clock, 0.02)
    assert reboots.too_fast == "11 times within 10 s of its start"


def test_one_long_life_and_it_may_do_so_again() -> None:
    reboots = Reboots(clock := Clock())
    for _ in range(3):
        assert all(live(reboots, clock, SHORT - 0.01) for _ in range(MOST))
        assert live(reboots, clock, SHORT)


def test_a_guest_that_lives_long_reboots_for_ever() -> None:
    reboots = Reboots(clock := Clock())
    assert all(live(reboots, clock, SHORT) for _ in range(100))


def test_the_time_that_it_takes_to_start_it_again_is_not_its_own() -> None:
    reboots = Reboots(clock := Clock())
    for _ in range(MOST):
        assert live(reboots, clock, 1)
        clock.now += 100
    assert not live(reboots, clock, 1)
