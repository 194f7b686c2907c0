"""A console whose page a hostile guest scribbles into: it may lose its console, and nothing else."""

from __future__ import annotations

import logging
import random

import pytest

from tests.unit.backends.console.conftest import Frontend
from xenia.abi import console
from xenia.backends.console.queue import EMERGENCY_LIMIT, INPUT_LIMIT, OUTPUT_LIMIT, Queue
from xenia.backends.console.sink import CallbackSink

WORDS = (console.IN_CONS_OFFSET, console.IN_CONS_OFFSET + 4, console.OUT_CONS_OFFSET, console.OUT_PROD_OFFSET)
VALUES = (0, 1, 1023, 1024, 2047, 2048, 2049, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_in_the_page_nothing_grows_and_one_line_is_logged(
    frontend: Frontend, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    chance = random.Random(seed)
    heard = [0]

    def hear(data: bytes) -> None:
        heard[0] += len(data)

    told: list[int] = []
    device = Queue("d1", frontend.view, frontend.notify, CallbackSink(hear), log=lambda data: told.append(len(data)))
    with caplog.at_level(logging.INFO):
        for _ in range(300):
            match chance.randrange(6):
                case 0:
                    frontend.word(chance.choice(WORDS), chance.choice((*VALUES, chance.getrandbits(32))))
                case 1:
                    place = chance.randrange(4096)
                    length = min(chance.randrange(64), 4096 - place)
                    frontend.page[place : place + length] = chance.randbytes(length)
                case 2:
                    device.offer(chance.randbytes(chance.randrange(3000)))
                case 3:
                    device.emergency(chance.randbytes(chance.randrange(3000)), chance.random() < 0.5)
                case 4:
                    frontend.word(
                        console.OUT_PROD_OFFSET, frontend.word(console.OUT_CONS_OFFSET) + chance.randrange(2060)
                    )
                case _:
                    for _ in range(
                        5
                    ):  # a guest that writes all the time keeps `service` busy; who serves it comes back
                        device.service()
    assert len(caplog.records) <= 1
    state = device.save()
    assert len(state.input) <= INPUT_LIMIT
    assert len(state.output) <= OUTPUT_LIMIT + EMERGENCY_LIMIT + console.OUT_SIZE
    assert len(state.emergency) <= EMERGENCY_LIMIT
    assert len(device.unshown) <= 4096
    assert sum(told) == device.stats.emergency_bytes
    device.close()
