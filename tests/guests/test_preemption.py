"""A guest can be stopped at any moment, and never notices."""

from __future__ import annotations

import threading
import time

import pytest

from tests.guests.record_answers import text
from tests.guests.tiny import ANSWERS, Running

pytestmark = pytest.mark.guest


def test_a_guest_that_spins_with_events_off_is_stopped() -> None:
    with Running("spin") as guest:
        while b"spinning" not in guest.output:
            assert guest.domain.wait(0.01) is None
        guest.domain.stop()
        assert guest.domain.shutdown is None


def test_work_comes_out_the_same_when_the_guest_is_interrupted_every_200_us() -> None:
    with Running("stress", check=False) as guest:
        done = threading.Event()

        def interrupt() -> None:
            while not done.is_set():
                guest.domain.notify(guest.domain.store_port)
                time.sleep(0.0002)

        thread = threading.Thread(target=interrupt)
        thread.start()
        try:
            answer = guest.answer(120)
        finally:
            done.set()
            thread.join()
        assert guest.domain.statistics["entries"] not in range(100)
    assert text(answer) == (ANSWERS / "stress.txt").read_text()
