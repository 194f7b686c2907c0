"""A disk as plain bytes, and a machine that does the same to it and to a stack of layers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.long import LONG
from xenia.storage.kinds import KINDS
from xenia.storage.layer import Layer, Operation, Request
from xenia.storage.stack import create_stack, open_stack, words_of

SIZE = 300 * 1024 + 512  # neither whole clusters nor whole pages
LONGEST = 160 * 1024

BOTTOMS = ("file:DIR/disk", "qcow2:DIR/disk.qcow2:cluster=4K")
FILTERS = (
    "qcow2:cluster=512:version=2",
    "compress",
    "crypt:key=@DIR/key:plain",
    "crypt:key=@DIR/key:kdf=pbkdf2",
    "cow:DIR/overlay",
    "checkpoint:DIR/checkpoints",
    "cache:size=128K",
    "cache:size=128K:writeback",
    "throttle:bytes=100G",
    "delay",
    "faulty",  # when it is told to
    "trace",
)
# Of up to three layers; where two are above a bottom, they are on both bottoms in a long run, and else on one of them.
# NBD has its own tests, for it needs a server.
STACKS = tuple(
    ",".join((BOTTOMS[which], *filters))
    for which in range(len(BOTTOMS))
    for depth in range(3)
    for filters in product(FILTERS, repeat=depth)
    if LONG or depth < 2 or sum(map(FILTERS.index, filters)) % len(BOTTOMS) == which
)


def in_directory(stack: str, directory: Path) -> str:
    """The stack with its files, and the key, in a directory."""
    (directory / "key").write_bytes(bytes(range(64)))
    for name in ("overlay", "checkpoints"):
        if stack.count(name) > 1:  # two of a kind need two places
            first, last = stack.rsplit(name, 1)
            stack = f"{first}{name}2{last}"
    return stack.replace("DIR", str(directory))


def make(text: str, size: int = SIZE) -> None:
    """Make all that a stack needs, from the bottom up: what an overlay keeps has to be there before it."""
    words = words_of(text)
    for index in [*(index for index, word in enumerate(words) if KINDS[word.name].keeps_lower), len(words)]:
        room = size
        for word in reversed(words[index:]):
            room = KINDS[word.name].room(word, room) or room
        create_stack(",".join(word.text for word in words[:index]), room)


class Disk:
    """A stack, and what it is to hold."""

    def __init__(self, open_layer: Callable[[], Layer], model: bytearray | None = None) -> None:
        self.open_layer = open_layer
        self.layer = open_layer()
        self.unit = self.layer.block_size.minimum
        self.model = bytearray(self.layer.pread(0, self.layer.size)) if model is None else model

    def span(self, offset: int, length: int) -> tuple[int, int]:
        """The nearest range that the layer can be asked for."""
        size = len(self.model)
        offset = offset % size // self.unit * self.unit
        length = min(-(-length // self.unit) * self.unit, size - offset)
        return offset, length

    def read(self, offset: int, length: int) -> None:
        """It holds what it is to hold."""
        offset, length = self.span(offset, length)
        found = self.layer.pread(offset, length)
        assert found == self.model[offset : offset + length], self.difference(found, offset)

    def difference(self, found: bytes | bytearray, offset: int) -> str:
        """Where it does not."""
        wrong = [index for index, byte in enumerate(found) if byte != self.model[offset + index]]
        return f"{len(wrong)} bytes from {offset + wrong[0]} to {offset + wrong[-1]} are wrong"

    def settle_discard(self, offset: int, length: int) -> None:
        """After a discard each byte is what it was, or zero; from now on it is that."""
        found = self.layer.pread(offset, length)
        was = self.model[offset : offset + length]
        assert all(now in (0, before) for now, before in zip(found, was, strict=True))
        self.model[offset : offset + length] = found

    def check(self) -> None:
        """The whole of it, and its extents."""
        self.read(0, len(self.model))
        at = 0
        for extent in self.layer.extents(0, len(self.model)):
            assert extent.offset == at and extent.length > 0
            at += extent.length
            if extent.zero:
                assert not any(self.model[extent.offset : at])
        assert at == len(self.model)


def pattern(seed: int, length: int) -> bytes:
    """Data that differs everywhere, or compresses well."""
    if seed % 3 == 0:
        return bytes([seed & 0xFF]) * length
    start = seed * 2654435761 & 0xFFFFFFFF
    shifts = (0, 8, 16, 24, 4, 12, 20)
    words = bytes((start >> shift & 0xFF) ^ (index * 37 & 0xFF) for index, shift in enumerate(shifts))
    return (words * (length // 7 + 1))[:length]


offsets = st.integers(0, SIZE - 1)
lengths = st.one_of(st.integers(1, 9000), st.integers(1, LONGEST))
seeds = st.integers(0, 10_000)


class StackMachine(RuleBasedStateMachine):
    """Random requests to one stack; `text`, which names it in a new directory, is set by whoever runs the machine."""

    text: Callable[[], str]

    @initialize()
    def start(self) -> None:
        text = type(self).text()
        make(text)
        self.disk = Disk(lambda: open_stack(text))

    @rule(offset=offsets, length=lengths, seed=seeds, cut=st.integers(1, 5000))
    def write(self, offset: int, length: int, seed: int, cut: int) -> None:
        offset, length = self.disk.span(offset, length)
        data = pattern(seed, length)
        view = memoryview(data)
        pieces = [view[start : start + cut] for start in range(0, length, cut)][:40]
        pieces.append(view[sum(map(len, pieces)) :])
        self.disk.layer.pwritev(pieces, offset)
        self.disk.model[offset : offset + length] = data

    @rule(offset=offsets, length=lengths, cut=st.integers(1, 5000))
    def read(self, offset: int, length: int, cut: int) -> None:
        offset, length = self.disk.span(offset, length)
        found = bytearray(length)
        view = memoryview(found)
        self.disk.layer.preadv([view[:cut], view[cut : 2 * cut], view[2 * cut :]], offset)
        assert found == self.disk.model[offset : offset + length], self.disk.difference(found, offset)

    @rule(offset=offsets, length=lengths)
    def write_zeroes(self, offset: int, length: int) -> None:
        offset, length = self.disk.span(offset, length)
        self.disk.layer.write_zeroes(offset, length)
        self.disk.model[offset : offset + length] = bytes(length)

    @rule(offset=offsets, length=lengths)
    def discard(self, offset: int, length: int) -> None:
        if self.disk.layer.can_discard:
            offset, length = self.disk.span(offset, length)
            self.disk.layer.discard(offset, length)
            self.disk.settle_discard(offset, length)

    @rule()
    def flush(self) -> None:
        self.disk.layer.flush()

    @rule(
        offset=offsets,
        parts=st.lists(st.tuples(st.sampled_from(list(Operation)[:3]), st.integers(1, 20000), seeds), max_size=8),
    )
    def batch(self, offset: int, parts: list[tuple[Operation, int, int]]) -> None:
        """Requests for bytes that follow each other, which become few calls."""
        requests: list[Request] = []
        reads: list[tuple[bytearray, bytes]] = []
        for operation, length, seed in parts:
            offset, length = self.disk.span(offset, length)
            if operation is Operation.FLUSH or not length:
                requests.append(Request(Operation.FLUSH))
                continue
            if operation is Operation.READ:
                into = bytearray(length)
                reads.append((into, bytes(self.disk.model[offset : offset + length])))
                requests.append(Request(operation, offset, length, [memoryview(into)]))
            else:
                data = pattern(seed, length)
                requests.append(Request(operation, offset, length, [memoryview(data)]))
                self.disk.model[offset : offset + length] = data
            offset += length
        self.disk.layer.submit(requests)
        assert not any(request.error for request in requests)
        assert all(found == expected for found, expected in reads)

    @rule()
    def reopen(self) -> None:
        self.disk.layer.close()
        self.disk = Disk(self.disk.open_layer, self.disk.model)
        self.disk.check()

    def teardown(self) -> None:
        if hasattr(self, "disk"):
            self.disk.check()
            self.disk.layer.close()
