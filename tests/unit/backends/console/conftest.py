"""The guest's end of a console page."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator

import pytest

from xenia.abi import console
from xenia.testing.foreign import PageForeign

TIMEOUT = 30


class Frontend:
    """What hvc does in a guest."""

    def __init__(self) -> None:
        self.page = bytearray(4096)
        self.event_fd = os.eventfd(0)
        self.notified = threading.Semaphore(0)

    @property
    def foreign(self) -> PageForeign:
        """The domain, as its backend sees it."""
        return PageForeign(self.page, self.event_fd, self.notify)

    @property
    def view(self) -> memoryview:
        return memoryview(self.page)

    def notify(self) -> None:
        """The backend sent an event."""
        self.notified.release()

    def word(self, offset: int, value: int | None = None) -> int:
        if value is not None:
            struct.pack_into("<I", self.page, offset, value & 0xFFFFFFFF)
        (found,) = struct.unpack_from("<I", self.page, offset)
        return int(found)

    def put(self, data: bytes) -> int:
        """Write output, as much as there is room for, and send an event."""
        cons, prod = self.word(console.OUT_CONS_OFFSET), self.word(console.OUT_PROD_OFFSET)
        count = min(len(data), console.OUT_SIZE - ((prod - cons) & 0xFFFFFFFF))
        for position in range(count):
            self.page[console.OUT_OFFSET + (prod + position) % console.OUT_SIZE] = data[position]
        self.word(console.OUT_PROD_OFFSET, prod + count)
        os.eventfd_write(self.event_fd, 1)
        return count

    def put_all(self, data: bytes) -> None:
        """Write output, waiting for the backend whenever the ring is full."""
        while data:
            count = self.put(data)
            data = data[count:]
            if not count:
                assert self.notified.acquire(timeout=TIMEOUT)

    def take(self) -> bytes:
        """Read the input there is, and send an event."""
        cons, prod = self.word(console.IN_CONS_OFFSET), self.word(console.IN_PROD_OFFSET)
        data = bytes(self.page[(cons + i) % console.IN_SIZE] for i in range((prod - cons) & 0xFFFFFFFF))
        self.word(console.IN_CONS_OFFSET, prod)
        os.eventfd_write(self.event_fd, 1)
        return data

    def take_exactly(self, count: int) -> bytes:
        """Read so much input, waiting for it."""
        data = self.take()
        while len(data) < count:
            assert self.notified.acquire(timeout=TIMEOUT)
            data += self.take()
        return data


@pytest.fixture
def frontend() -> Iterator[Frontend]:
    frontend = Frontend()
    yield frontend
    os.close(frontend.event_fd)
