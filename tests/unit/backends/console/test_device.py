"""The console with its thread, and real descriptors behind it."""

from __future__ import annotations

import os
import queue
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from xenia.backends.console.device import Console
from xenia.backends.console.sink import CallbackSink, FdSink

Frontend = Any
TIMEOUT = 30


def test_output_reaches_a_callback(frontend: Frontend) -> None:
    heard: queue.Queue[bytes] = queue.Queue()
    with Console("d1", frontend.foreign, CallbackSink(heard.put)):
        frontend.put(b"login: ")
        assert heard.get(timeout=TIMEOUT) == b"login: "
        assert frontend.notified.acquire(timeout=TIMEOUT)


def test_what_its_thread_ran_counts_as_the_domains_time(frontend: Frontend) -> None:
    foreign, began = frontend.foreign, time.process_time_ns()
    with Console("d1", foreign, CallbackSink(len)):
        frontend.put_all(bytes(100_000))
    assert 0 < foreign.charged <= time.process_time_ns() - began


def test_a_callback_may_answer_what_it_hears(frontend: Frontend) -> None:
    backend: Console

    def answer(data: bytes) -> None:
        if data.endswith(b"login: "):
            backend.offer(b"root\n")

    backend = Console("d1", frontend.foreign, CallbackSink(answer))
    with backend:
        frontend.put(b"login: ")
        assert frontend.take_exactly(5) == b"root\n"


def test_more_input_than_fits_anywhere_arrives_in_order(frontend: Frontend) -> None:
    data = os.urandom(200_000)
    with Console("d1", frontend.foreign, CallbackSink(len)) as backend:
        sender = threading.Thread(target=backend.send, args=(data,))
        sender.start()
        assert frontend.take_exactly(len(data)) == data
        sender.join(TIMEOUT)
        assert not sender.is_alive()


def test_whoever_waits_to_give_input_goes_on_when_the_console_closes(frontend: Frontend) -> None:
    backend = Console("d1", frontend.foreign, CallbackSink(len))
    backend.start()
    sender = threading.Thread(target=backend.send, args=(bytes(200_000),))
    sender.start()
    backend.close()
    sender.join(TIMEOUT)
    assert not sender.is_alive()


def test_a_slow_pipe_gets_everything_in_order(frontend: Frontend) -> None:
    data = os.urandom(400_000)
    reading, writing = os.pipe()
    with Console("d1", frontend.foreign, FdSink(writing)) as backend:
        guest = threading.Thread(target=frontend.put_all, args=(data,))
        guest.start()
        received = b""
        while len(received) < len(data):
            received += os.read(reading, 1000)
        guest.join(TIMEOUT)
        assert received == data
        assert backend.stats.output_bytes == len(data)
    os.close(reading)
    os.close(writing)


def test_closing_writes_out_what_the_guest_has_written(frontend: Frontend, tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as log:
        backend = Console("d1", frontend.foreign, FdSink(log.fileno()))
        backend.start()
        frontend.put_all(b"y" * 100_000)
        frontend.put_all(b"reboot: Power down\r\n")
        backend.close()
        backend.close()
    assert path.read_bytes() == b"y" * 100_000 + b"reboot: Power down\r\n"
    frontend.page.extend(b"\0")  # the page was let go of: a buffer that is still exported cannot be resized


def test_closing_waits_for_a_full_pipe_until_somebody_reads_it(frontend: Frontend) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    filled = 0
    try:
        while True:
            filled += os.write(writing, bytes(4096))
    except BlockingIOError:
        pass
    os.set_blocking(writing, True)
    backend = Console("d1", frontend.foreign, FdSink(writing))
    backend.start()
    frontend.put(b"last words")
    closing = threading.Thread(target=backend.close)
    closing.start()
    received = b""
    while not received.endswith(b"last words"):
        received += os.read(reading, 65536)
    closing.join(TIMEOUT)
    assert not closing.is_alive()
    assert len(received) == filled + len(b"last words")
    os.close(reading)
    os.close(writing)


def test_closing_waits_only_as_long_as_it_is_told(frontend: Frontend) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, bytes(4096))
    except BlockingIOError:
        pass
    backend = Console("d1", frontend.foreign, FdSink(writing))
    backend.start()
    frontend.put(b"never read")
    backend.close(timeout=0.01)
    assert backend.stats.discarded_bytes == len(b"never read")
    os.close(reading)
    os.close(writing)


def test_a_reader_that_goes_away_does_not_hold_up_the_guest(
    frontend: Frontend, caplog: pytest.LogCaptureFixture
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with Console("d1", frontend.foreign, FdSink(writing)):
        frontend.put_all(bytes(50_000))
    os.close(writing)
    assert len(caplog.records) == 1


def test_a_console_that_was_never_started_still_loses_nothing(frontend: Frontend) -> None:
    heard: list[bytes] = []
    backend = Console("d1", frontend.foreign, CallbackSink(heard.append))
    frontend.put(b"early")
    backend.emergency(b"!")
    backend.close()
    assert sorted(b"".join(heard)) == sorted(b"early!")


def test_emergency_output_comes_through_a_pipe_to_its_last_byte(frontend: Frontend) -> None:
    heard: queue.Queue[bytes] = queue.Queue()
    reading, writing = os.pipe()
    backend = Console("d1", frontend.foreign, CallbackSink(heard.put), emergency_fd=reading)
    backend.start()
    os.write(writing, b"early: ")
    assert heard.get(timeout=TIMEOUT) == b"early: "
    os.write(writing, b"last words")
    backend.close()
    assert heard.get(timeout=TIMEOUT) == b"last words"
    os.close(reading)
    os.close(writing)


def test_a_pipe_whose_writer_is_gone_is_left_alone(frontend: Frontend) -> None:
    heard: queue.Queue[bytes] = queue.Queue()
    reading, writing = os.pipe()
    backend = Console("d1", frontend.foreign, CallbackSink(heard.put), emergency_fd=reading)
    with backend:
        os.write(writing, b"!")
        os.close(writing)
        assert heard.get(timeout=TIMEOUT) == b"!"
        frontend.put(b"normal")
        assert heard.get(timeout=TIMEOUT) == b"normal"
    os.close(reading)


def test_a_suspended_console_goes_on_in_another(frontend: Frontend) -> None:
    first = Console("d1", frontend.foreign, CallbackSink(len))
    first.start()
    first.send(bytes(3000))
    state = first.suspend()
    second = Console("d1", frontend.foreign, CallbackSink(len), state)
    with second:
        assert frontend.take_exactly(3000) == bytes(3000)


def test_after_closing_input_and_emergency_output_go_nowhere(frontend: Frontend) -> None:
    backend = Console("d1", frontend.foreign, CallbackSink(len))
    backend.start()
    backend.close()
    backend.send(b"x")
    backend.emergency(b"x")
    assert backend.offer(b"x") == 0


def test_a_bug_in_a_callback_is_told_to_who_closes_the_console(frontend: Frontend) -> None:
    called = threading.Event()

    def bug(data: bytes) -> None:
        called.set()
        raise ZeroDivisionError

    backend = Console("d1", frontend.foreign, CallbackSink(bug))
    backend.start()
    frontend.put(b"x")
    assert called.wait(TIMEOUT)
    with pytest.raises(ZeroDivisionError):
        backend.close()
