from __future__ import annotations

from typing import Any

import pytest

from xenia.abi import console
from xenia.backends.console.queue import EMERGENCY_LIMIT, INPUT_LIMIT, OUTPUT_LIMIT, Queue
from xenia.backends.console.sink import Sink

Frontend = Any


class Glass(Sink):
    """A sink that has only so much room."""

    def __init__(self) -> None:
        self.room = 1 << 30
        self.content = b""
        self.broken = False

    def write(self, data: bytes) -> int:
        if self.broken:
            raise BrokenPipeError(32, "Broken pipe")
        count = min(self.room, len(data))
        self.content += data[:count]
        self.room -= count
        return count

    def fileno(self) -> int:
        return 99


@pytest.fixture
def glass() -> Glass:
    return Glass()


@pytest.fixture
def device(frontend: Frontend, glass: Glass) -> Queue:
    return Queue("d1", frontend.view, frontend.notify, glass)


def served(device: Queue) -> None:
    while device.service():
        pass


def notifications(frontend: Frontend) -> int:
    count = 0
    while frontend.notified.acquire(blocking=False):
        count += 1
    return count


def test_one_notification_answers_a_full_ring(device: Queue, frontend: Frontend, glass: Glass) -> None:
    frontend.put(b"x" * console.OUT_SIZE)
    assert device.service() is True
    assert device.service() is False
    assert glass.content == b"x" * console.OUT_SIZE
    assert notifications(frontend) == 1


def test_input_waits_for_room_in_the_ring(device: Queue, frontend: Frontend) -> None:
    data = bytes(range(256)) * 10
    assert device.offer(data) == len(data)
    received = b""
    while len(received) < len(data):
        served(device)
        received += frontend.take()
    assert received == data


def test_only_so_much_input_waits(device: Queue) -> None:
    assert device.offer(bytes(INPUT_LIMIT + 5)) == INPUT_LIMIT
    assert device.offer(b"x") == 0
    device.service()
    assert device.offer(bytes(5000)) == console.IN_SIZE
    device.close()
    assert device.wait_for_room() is False
    assert device.offer(b"x") == 0


def test_a_sink_without_room_holds_up_the_guest_and_loses_nothing(
    device: Queue, frontend: Frontend, glass: Glass
) -> None:
    glass.room = 10
    sent = b""
    for number in range(100):
        piece = b"%04d" % number * 512
        sent += piece[: frontend.put(piece)]
        served(device)
    assert device.waits_for == 99
    assert len(sent) <= 10 + OUTPUT_LIMIT + 2 * console.OUT_SIZE
    glass.room = 1 << 30
    served(device)
    assert glass.content == sent
    assert device.waits_for is None


def test_a_broken_sink_takes_output_for_ever_with_one_line(
    device: Queue, frontend: Frontend, glass: Glass, caplog: pytest.LogCaptureFixture
) -> None:
    glass.broken = True
    for _ in range(3):
        frontend.put(b"x" * 100)
        served(device)
    assert device.stats.discarded_bytes == 300
    assert not device.has_output
    assert len(caplog.records) == 1


@pytest.mark.parametrize("offset", [console.OUT_PROD_OFFSET, console.IN_CONS_OFFSET])
def test_impossible_indices_end_the_service_with_one_line(
    device: Queue, frontend: Frontend, caplog: pytest.LogCaptureFixture, offset: int
) -> None:
    frontend.word(offset, 0x80000000)
    for _ in range(3):
        device.offer(b"x")
        served(device)
    assert len(caplog.records) == 1
    frontend.page.extend(b"\0")  # the page was let go of: a buffer that is still exported cannot be resized


def test_emergency_output_goes_the_same_way_without_a_ring(device: Queue, frontend: Frontend, glass: Glass) -> None:
    device.emergency(b"Oops: ")
    frontend.word(console.OUT_PROD_OFFSET, 0x80000000)
    served(device)
    device.emergency(b"0000")
    served(device)
    assert glass.content == b"Oops: 0000"
    assert notifications(frontend) == 0


def test_emergency_output_waits_for_nobody_and_so_may_be_discarded(device: Queue, glass: Glass) -> None:
    glass.room = 0
    for _ in range(3):
        device.emergency(bytes(EMERGENCY_LIMIT))
    assert device.stats.emergency_bytes == 3 * EMERGENCY_LIMIT
    assert device.stats.discarded_bytes == 2 * EMERGENCY_LIMIT
    glass.room = 1 << 30
    served(device)
    assert len(glass.content) == EMERGENCY_LIMIT


def test_what_waits_goes_on_in_a_console_made_later(frontend: Frontend, glass: Glass) -> None:
    first = Queue("d1", frontend.view, frontend.notify, glass)
    glass.room = 4
    frontend.put(b"1234output")
    first.service()
    first.offer(bytes(1500))
    first.service()
    state = first.save()
    assert (state.input, state.output) == (bytes(1500 - console.IN_SIZE), b"output")
    first.close()
    glass.room = 100
    second = Queue("d1", frontend.view, frontend.notify, glass, state)
    served(second)
    assert glass.content == b"1234output"
    assert len(frontend.take()) == console.IN_SIZE
    served(second)
    assert len(frontend.take()) == 1500 - console.IN_SIZE


def test_statistics_count_both_ways(device: Queue, frontend: Frontend) -> None:
    frontend.put(b"12345")
    device.offer(b"123")
    served(device)
    stats = device.stats
    assert (stats.output_bytes, stats.input_bytes, stats.batches, stats.notifications) == (5, 3, 1, 1)
