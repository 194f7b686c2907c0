"""A storage layer: something with bytes to read and write, over another one or over the host.

Layers form a stack, after the manner of nbdkit's filters. A layer names the one below it, `lower`, and passes on what
it wants to; nothing is passed behind its back. What a layer can do and in which units is asked from the top and
answered by each layer in the light of the answer from below.

`Layer` is the face that callers use: it checks each request against size, alignment and capabilities, counts it, and
hands it to the layer's own half, the methods with an underscore, which may take for granted that the request is sound.

A write is durable once a `flush` that began after its end has ended; until then a crash may lose it whole or in part.
Any number of threads may call a layer at once. Requests in flight at the same time to overlapping bytes may be done in
any order. What cannot be done is an OSError; its errno is what a guest's request fails with.
"""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import Enum, Flag, auto
from typing import Any, ClassVar

from xenia.storage.buffers import ZEROES, Buffer, Buffers

MERGED_BUFFERS = 1024  # buffers in one call to a layer: IOV_MAX
MERGED_LENGTH = 4 << 20


class Capability(Flag):
    """What a layer can do."""

    WRITE = auto()
    FLUSH = auto()  # flush makes writes durable
    DISCARD = auto()
    SECURE_DISCARD = auto()  # discard(secure=True) leaves no copy of the data anywhere
    WRITE_ZEROES = auto()  # faster than writing them; without it write_zeroes works all the same
    RESIZE = auto()


@dataclass(frozen=True, slots=True)
class BlockSize:
    """Units of a layer, in bytes, powers of two.  Offsets and lengths are multiples of `minimum`."""

    minimum: int = 1
    preferred: int = 4096


@dataclass(frozen=True, slots=True)
class Extent:
    """A stretch of a layer.  `zero`: it reads as zeroes.  `hole`: nothing is stored for it, here or below."""

    offset: int
    length: int
    zero: bool = False
    hole: bool = False


class Operation(Enum):
    """What a request asks for; the words are those of public/io/blkif.h."""

    READ = auto()
    WRITE = auto()
    FLUSH = auto()
    DISCARD = auto()
    SECURE_DISCARD = auto()
    WRITE_ZEROES = auto()


@dataclass(slots=True)
class Request:
    """One request of a batch.  `length` is always given; `buffers`, of that length, for reads and writes.

    `error` is 0 or an errno, once it is done.
    """

    operation: Operation
    offset: int = 0
    length: int = 0
    buffers: Buffers = ()
    error: int = 0


@dataclass(slots=True)
class Statistics:
    """What a layer has been asked to do.  Threads count without a lock: close, not exact."""

    reads: int = 0
    bytes_read: int = 0
    writes: int = 0
    bytes_written: int = 0
    flushes: int = 0
    discards: int = 0
    zeroes: int = 0
    batches: int = 0
    requests: int = 0  # in those batches
    merged: int = 0  # of those, the ones that went down within another one's call
    errors: int = 0

    def as_dict(self) -> dict[str, int]:
        """The counts by name."""
        return asdict(self)

    def __add__(self, other: Statistics) -> Statistics:
        """Both together."""
        more = other.as_dict()
        return Statistics(**{name: count + more[name] for name, count in self.as_dict().items()})


class Layer(ABC):
    """One layer of a stack, or the whole stack, seen from above."""

    name: ClassVar[str]

    def __init__(self, lower: Layer | None, capabilities: Capability, block_size: BlockSize) -> None:
        self.lower = lower
        self.capabilities = capabilities
        self.block_size = block_size
        self.statistics = Statistics()
        self.closed = False
        self._watchers: list[Callable[[int], None]] = []
        self._past: list[Callable[[], Statistics]] = []

    # What it is

    @property
    @abstractmethod
    def size(self) -> int:
        """Its size in bytes, now."""

    @property
    def read_only(self) -> bool:
        """Whether writes are refused, with EROFS."""
        return Capability.WRITE not in self.capabilities

    @property
    def can_flush(self) -> bool:
        """Whether flush makes writes durable."""
        return Capability.FLUSH in self.capabilities

    @property
    def can_discard(self) -> bool:
        """Whether discard is of use."""
        return Capability.DISCARD in self.capabilities

    @property
    def can_secure_discard(self) -> bool:
        """Whether discard(secure=True) is possible."""
        return Capability.SECURE_DISCARD in self.capabilities

    @property
    def can_write_zeroes(self) -> bool:
        """Whether write_zeroes is faster than writing zeroes."""
        return Capability.WRITE_ZEROES in self.capabilities

    @property
    def can_resize(self) -> bool:
        """Whether resize is possible."""
        return Capability.RESIZE in self.capabilities

    @property
    def host_fd(self) -> int:
        """A descriptor whose bytes are exactly this layer's, for who goes past it (`count_past`); -1: there is none."""
        return -1

    @property
    def native_sector(self) -> int:
        """In which sectors what is on it was laid out, in bytes: those of the host's device, if that is below."""
        return 512 if self.lower is None else self.lower.native_sector

    def details(self) -> dict[str, Any]:
        """What else there is to say of it, as plain data."""
        return {}

    # What it has done

    def counts(self) -> Statistics:
        """What was asked of its bytes, by whoever goes past it as well."""
        return sum((counted() for counted in self._past), self.statistics)

    def count_past(self, counted: Callable[[], Statistics]) -> None:
        """Somebody reads and writes by `host_fd` from now on; `counted` says what was done so."""
        self._past.append(counted)

    def end_past(self, counted: Callable[[], Statistics]) -> None:
        """They have ended.  Precondition: `count_past` was called with it."""
        self._past.remove(counted)
        self.statistics += counted()

    # Requests

    def preadv(self, buffers: Buffers, offset: int) -> None:
        """Fill `buffers`, one after the other, with what is stored from `offset` on."""
        length = sum(map(len, buffers))
        self._check(offset, length)
        self.statistics.reads += 1
        self.statistics.bytes_read += length
        if length:
            self._read(buffers, offset, length)

    def pwritev(self, buffers: Buffers, offset: int) -> None:
        """Store the contents of `buffers`, one after the other, from `offset` on."""
        length = sum(map(len, buffers))
        self._check(offset, length, Capability.WRITE)
        self.statistics.writes += 1
        self.statistics.bytes_written += length
        if length:
            self._write(buffers, offset, length)

    def flush(self) -> None:
        """Return when every write that has ended is durable, in all layers."""
        self.statistics.flushes += 1
        self._flush()

    def discard(self, offset: int, length: int, secure: bool = False) -> None:
        """The bytes are not needed any more: until written again they read as what they were, or as zeroes.

        `secure`: on return no copy is left of what they were.  EOPNOTSUPP without that capability.
        """
        self._check(offset, length, Capability.WRITE)
        needed = Capability.SECURE_DISCARD if secure else Capability.DISCARD
        if needed not in self.capabilities:
            raise OSError(errno.EOPNOTSUPP, f"{self.name} cannot discard{' securely' if secure else ''}")
        self.statistics.discards += 1
        if length:
            self._discard(offset, length, secure)

    def write_zeroes(self, offset: int, length: int, unmap: bool = True) -> None:
        """Make the bytes read as zeroes.  Space may be given back where `unmap` allows it."""
        self._check(offset, length, Capability.WRITE)
        self.statistics.zeroes += 1
        if length:
            self._write_zeroes(offset, length, unmap)

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """What the bytes are, in order and without gaps.  Neighbouring extents may be alike."""
        self._check(offset, length)
        return self._extents(offset, length) if length else iter(())

    def submit(self, requests: Sequence[Request]) -> None:
        """Do a batch in order; each request's `error` tells how it went.  Neighbours become one call."""
        self.statistics.batches += 1
        self.statistics.requests += len(requests)
        for run in runs(requests):
            if len(run) > 1:
                try:
                    self._perform(run[0].operation, run[0].offset, 0, [each for one in run for each in one.buffers])
                except OSError:
                    pass  # one of them is at fault; each on its own tells which
                else:
                    self.statistics.merged += len(run) - 1
                    continue
            for one in run:
                try:
                    self._perform(one.operation, one.offset, one.length, one.buffers)
                except OSError as error:
                    self.statistics.errors += 1
                    one.error = error.errno or errno.EIO

    def pread(self, offset: int, length: int) -> bytearray:
        """What is stored there, as a copy."""
        data = bytearray(length)
        self.preadv([memoryview(data)], offset)
        return data

    def pwrite(self, data: Buffer, offset: int) -> None:
        """Store one piece of data."""
        self.pwritev([memoryview(data)], offset)

    # Its life

    def resize(self, size: int) -> None:
        """Give the layer another size; those who watch it are told.  New bytes read as zeroes where the bottom can."""
        if not self.can_resize:
            raise OSError(errno.EOPNOTSUPP, f"{self.name} cannot be resized")
        if size < 0 or size % self.block_size.minimum:
            raise OSError(errno.EINVAL, f"{size} is not a size for {self.name}")
        if size != self.size:
            self._resize(size)

    def refresh(self) -> None:
        """Look again how large the bottom of the stack is; those who watch are told when it changed."""
        self._refresh()

    def watch(self, resized: Callable[[int], None]) -> None:
        """Call `resized` with the new size whenever it changes, on the thread that changed or noticed it."""
        self._watchers.append(resized)

    def unwatch(self, resized: Callable[[int], None]) -> None:
        """Call it no more.  Precondition: `watch` was called with it."""
        self._watchers.remove(resized)

    def close(self) -> None:
        """Make everything durable and let go of it, the layers below included.  Closing twice is allowed."""
        if not self.closed:
            self.closed = True
            self._close()

    def stack(self) -> Iterator[Layer]:
        """This layer and those below it."""
        layer: Layer | None = self
        while layer is not None:
            yield layer
            layer = layer.lower

    def __enter__(self) -> Layer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # The layer's own half.  Ranges are inside the layer, aligned, and not empty.

    @abstractmethod
    def _read(self, buffers: Buffers, offset: int, length: int) -> None: ...

    @abstractmethod
    def _write(self, buffers: Buffers, offset: int, length: int) -> None: ...

    @abstractmethod
    def _flush(self) -> None: ...

    @abstractmethod
    def _discard(self, offset: int, length: int, secure: bool) -> None: ...

    @abstractmethod
    def _write_zeroes(self, offset: int, length: int, unmap: bool) -> None: ...

    @abstractmethod
    def _extents(self, offset: int, length: int) -> Iterator[Extent]: ...

    @abstractmethod
    def _resize(self, size: int) -> None: ...

    @abstractmethod
    def _refresh(self) -> None: ...

    @abstractmethod
    def _close(self) -> None: ...

    # For layers

    def _resized(self) -> None:
        size = self.size
        for watcher in tuple(self._watchers):
            watcher(size)

    def _store_zeroes(self, offset: int, length: int) -> None:
        """write_zeroes for one who can do no better."""
        while length:
            buffers = []
            step = 0
            while step < min(length, MERGED_LENGTH):
                buffers.append(ZEROES[: length - step])
                step += len(buffers[-1])
            self._write(buffers, offset, step)
            offset += step
            length -= step

    def _check(self, offset: int, length: int, needed: Capability | None = None) -> None:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise OSError(errno.EINVAL, f"{self.name}: {length} bytes at {offset} are not all inside it")
        if (offset | length) & (self.block_size.minimum - 1):
            raise OSError(errno.EINVAL, f"{self.name}: {length} bytes at {offset} are not whole blocks")
        if needed is not None and needed not in self.capabilities:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def _perform(self, operation: Operation, offset: int, length: int, buffers: Buffers) -> None:
        match operation:
            case Operation.READ:
                self.preadv(buffers, offset)
            case Operation.WRITE:
                self.pwritev(buffers, offset)
            case Operation.FLUSH:
                self.flush()
            case Operation.DISCARD:
                self.discard(offset, length)
            case Operation.SECURE_DISCARD:
                self.discard(offset, length, secure=True)
            case Operation.WRITE_ZEROES:
                self.write_zeroes(offset, length)


class Filter(Layer):
    """A layer of the size of the one below, which passes flushing, resizing and closing on.

    The five data requests are each filter's own to write: a default would be a hole in those that transform data.
    """

    lower: Layer

    def __init__(
        self, lower: Layer, capabilities: Capability | None = None, block_size: BlockSize | None = None
    ) -> None:
        super().__init__(
            lower,
            lower.capabilities if capabilities is None else capabilities,
            lower.block_size if block_size is None else block_size,
        )
        lower.watch(lambda _: self._resized())

    @property
    def size(self) -> int:
        return self.lower.size

    def _flush(self) -> None:
        self.lower.flush()

    def _resize(self, size: int) -> None:
        self.lower.resize(size)

    def _refresh(self) -> None:
        self.lower.refresh()

    def _close(self) -> None:
        self.lower.close()


def runs(requests: Sequence[Request]) -> Iterator[list[Request]]:
    """Cut a batch into pieces that one call each can do: reads, or writes, of bytes that follow each other."""
    run: list[Request] = []
    end = buffers = total = 0
    for one in requests:
        if (
            run
            and one.operation is run[0].operation
            and one.operation in (Operation.READ, Operation.WRITE)
            and one.offset == end
            and buffers + len(one.buffers) <= MERGED_BUFFERS
            and total + one.length <= MERGED_LENGTH
        ):
            run.append(one)
            buffers += len(one.buffers)
            total += one.length
        else:
            if run:
                yield run
            run = [one]
            buffers, total = len(one.buffers), one.length
        end = one.offset + one.length
    if run:
        yield run
