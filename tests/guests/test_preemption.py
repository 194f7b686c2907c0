"""A guest can be stopped at any moment, and never notices."""

from __future__ import annotations

import threading
import time

import pytest

from tests.guests.record_answers import text
from tests.guests.tiny import ANSWERS, Running, kernel
from xenia.hypervisor.domain import create_domain
from xenia.hypervisor.machine import MachineHandle

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


def alarm_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "alarms"]


def test_one_thread_rings_the_timers_of_domains_that_come_and_go_and_ends_with_the_last() -> None:
    memory = 4 << 20
    machine = MachineHandle(8 * memory)
    steady, passing = kernel("timers"), kernel("spin")
    before = alarm_threads()
    for _ in range(5):
        asked = create_domain(machine, steady, memory=memory)
        asked.start()  # it counts on its timers, whoever else's are there
        while asked.wait(0) is None:
            domains = [create_domain(machine, passing, memory=memory) for _ in range(3)]
            for domain in domains:
                domain.start()
            assert len(alarm_threads()) == len(before) + 1
            for domain in domains:
                domain.destroy()
        asked.destroy()
        assert alarm_threads() == before
