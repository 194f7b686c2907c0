"""For tests and for the curious: a record of what came by, which can be played again in part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from xenia.storage.buffers import Buffers
from xenia.storage.layer import Extent, Filter, Layer


class Event(Enum):
    """What came by."""

    READ = "read"
    WRITE = "write"
    FLUSH = "flush"
    DISCARD = "discard"
    WRITE_ZEROES = "write zeroes"
    RESIZE = "resize"


@dataclass(frozen=True, slots=True)
class Record:
    """One request that ended well.  `data` is what was written; for a resize, `length` is the new size."""

    event: Event
    offset: int = 0
    length: int = 0
    data: bytes = b""


class Trace(Filter):
    """Tells `note` about each request that ended well, in the order in which they ended."""

    name: ClassVar[str] = "trace"

    def __init__(self, lower: Layer, note: Callable[[Record], object], keep_data: bool = True) -> None:
        super().__init__(lower)
        self._note = note
        self._keep_data = keep_data

    def _read(self, buffers: Buffers, offset: int, length: int) -> None:
        self.lower.preadv(buffers, offset)
        self._note(Record(Event.READ, offset, length))

    def _write(self, buffers: Buffers, offset: int, length: int) -> None:
        self.lower.pwritev(buffers, offset)
        self._note(Record(Event.WRITE, offset, length, b"".join(buffers) if self._keep_data else b""))

    def _flush(self) -> None:
        self.lower.flush()
        self._note(Record(Event.FLUSH))

    def _discard(self, offset: int, length: int, secure: bool) -> None:
        self.lower.discard(offset, length, secure)
        self._note(Record(Event.DISCARD, offset, length))

    def _write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        self.lower.write_zeroes(offset, length, unmap)
        self._note(Record(Event.WRITE_ZEROES, offset, length))

    def _extents(self, offset: int, length: int) -> Iterator[Extent]:
        return self.lower.extents(offset, length)

    def _resize(self, size: int) -> None:
        self.lower.resize(size)
        self._note(Record(Event.RESIZE, 0, size))


def replay(records: Iterable[Record], onto: Layer) -> None:
    """Do again what was recorded, reads and flushes aside."""
    for record in records:
        match record.event:
            case Event.WRITE:
                onto.pwrite(record.data, record.offset)
            case Event.DISCARD:
                onto.discard(record.offset, record.length)
            case Event.WRITE_ZEROES:
                onto.write_zeroes(record.offset, record.length)
            case Event.RESIZE:
                onto.resize(record.length)
