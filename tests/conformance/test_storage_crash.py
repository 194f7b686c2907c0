"""What was flushed is there, whenever the process or the machine stops."""

import json
import os
import random
import select
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.conformance.storage_model import STACKS, in_directory, make, pattern
from xenia.storage.cache import Cache
from xenia.storage.cow import Overlay
from xenia.storage.layer import Layer
from xenia.storage.memory import Memory
from xenia.storage.qcow2.check import check_image
from xenia.storage.qcow2.create import create_image
from xenia.storage.qcow2.header import read_header
from xenia.storage.qcow2.image import Qcow2
from xenia.storage.stack import open_stack
from xenia.storage.trace import Event, Record, Trace, replay

SIZE = 96 * 1024
SECTOR = 512


def formats() -> dict[str, tuple[Callable[[Layer], object], Callable[[Layer], Layer]]]:
    """By name: how to make an image in a container, and how to open it."""

    def backing() -> Layer:
        layer = Memory(SIZE)
        layer.pwrite(pattern(7, SIZE), 0)
        return layer

    def image(container: Layer, compress: bool = False) -> Qcow2:
        return Qcow2(container, read_header(container, "it"), compress=compress)

    return {
        "qcow2": (lambda c: create_image(c, SIZE, cluster_bits=12), image),
        "small clusters, version 2": (
            lambda c: create_image(c, SIZE, cluster_bits=9, version=2, compression="zlib"), image),
        "wide counts, a table that grows": (lambda c: create_image(c, SIZE, cluster_bits=9, refcount_order=6), image),
        "compressed": (lambda c: create_image(c, SIZE, cluster_bits=13), lambda c: image(c, compress=True)),
        "overlay": (
            lambda c: create_image(c, SIZE, cluster_bits=12),
            lambda c: Overlay(c, read_header(c, "it"), backing())),
        "cached": (lambda c: create_image(c, SIZE, cluster_bits=12), lambda c: Cache(image(c), 1 << 17, True)),
    }  # fmt: skip


class History:
    """What each sector may hold after a crash: what the last flush made durable, or what was written since."""

    def __init__(self, durable: bytes) -> None:
        self.durable = durable
        self.model = bytearray(durable)
        self.possible: dict[int, set[bytes]] = {}

    def wrote(self, offset: int, data: bytes) -> None:
        first, last = offset // SECTOR, (offset + len(data) - 1) // SECTOR
        self.model[offset : offset + len(data)] = data
        for sector in range(first, last + 1):
            found = self.possible.setdefault(sector, {_sector(self.durable, sector)})
            found.add(_sector(self.model, sector))

    def flushed(self) -> None:
        self.durable = bytes(self.model)
        self.possible = {}


def _sector(data: bytes | bytearray, number: int) -> bytes:
    return bytes(data[number * SECTOR : (number + 1) * SECTOR])


def agree(found: bytes, durable: bytes, possible: dict[int, set[bytes]]) -> bool:
    return all(
        found[at : at + SECTOR] in possible.get(at // SECTOR, (durable[at : at + SECTOR],))
        for at in range(0, len(found), SECTOR)
    )


def work(layer: Layer, history: History, chance: random.Random, flushed: Callable[[], object], steps: int) -> None:
    """Random requests; `flushed` is called when a flush has ended, before the history forgets."""
    for _ in range(steps):
        offset = chance.randrange(0, SIZE // SECTOR) * SECTOR
        length = min(SIZE - offset, chance.choice((512, 1024, 4096, 20480)))
        kind = chance.random()
        if kind < 0.6:
            data = pattern(chance.randrange(10000), length)
            history.wrote(offset, data)
            layer.pwrite(data, offset)
        elif kind < 0.75:
            history.wrote(offset, bytes(length))
            layer.write_zeroes(offset, length)
        else:
            layer.flush()
            flushed()
            history.flushed()


@pytest.mark.parametrize("name", formats())
@pytest.mark.parametrize("seed", range(3))
def test_a_crash_between_any_two_writes_loses_nothing_that_was_flushed(name: str, seed: int) -> None:
    """The container's writes are cut off at every point: in order, and with those since its last flush in any part."""
    create, open_image = formats()[name]
    chance = random.Random(seed)
    container = Memory(0)
    create(container)
    first = bytes(container.pread(0, container.size))
    records: list[Record] = []
    layer = open_image(Trace(container, records.append))
    history = History(bytes(layer.pread(0, SIZE)))
    ends: list[tuple[int, bytes, dict[int, set[bytes]]]] = []  # of flushes: at which record, and what was possible

    def flushed() -> None:
        ends.append((len(records), bytes(history.durable), history.possible))

    work(layer, history, chance, flushed, 40)
    layer.close()
    start = 0
    for end, durable, possible in ends:
        cuts = range(start, end)
        for cut in cuts if len(cuts) < 12 else chance.sample(cuts, 12):
            for kept in (records[:cut], _torn(records[:cut], chance)):
                disk = Memory(len(first))
                disk.pwrite(first, 0)
                replay(kept, disk)
                report = check_image(disk, read_header(disk, "it"))
                assert report.sound, report.errors
                with open_image(disk) as found:
                    assert agree(bytes(found.pread(0, SIZE)), durable, possible)
        start = end


def _torn(records: list[Record], chance: random.Random) -> list[Record]:
    """The records up to the last flush, and of the writes since then any sectors."""
    flushes = [index for index, record in enumerate(records) if record.event is Event.FLUSH]
    safe = flushes[-1] + 1 if flushes else 0
    kept = records[:safe]
    for record in records[safe:]:
        if record.event is not Event.WRITE:
            if record.event is Event.RESIZE or chance.random() < 0.5:
                kept.append(record)
            continue
        for at in range(0, len(record.data), SECTOR):
            if chance.random() < 0.5:
                part = record.data[at : at + SECTOR]
                kept.append(Record(Event.WRITE, record.offset + at, len(part), part))
    return kept


class Zygote:
    """A process that has imported everything, and forks others that work on a stack."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import fork_workers; fork_workers()"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip

    def kill_at(self, text: str, flushes: int, directory: Path) -> int:
        """Let one work on a stack, kill it a moment after it has told of so many flushes; how many it told of."""
        assert self._process.stdin is not None and self._process.stdout is not None
        fifo = directory / "told"
        os.mkfifo(fifo)
        print(json.dumps([text, flushes, str(fifo)]), file=self._process.stdin, flush=True)
        process = os.pidfd_open(int(self._process.stdout.readline()))
        try:
            with fifo.open("rb", buffering=0) as reports:
                told = 0
                while told < flushes and (said := reports.read(1)):
                    told += len(said)
                assert told >= flushes, "the process ended by itself"
                signal.pidfd_send_signal(process, signal.SIGKILL)
                told += len(reports.read())
            select.select([process], [], [])
        finally:
            os.close(process)
        return told

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    made = Zygote()
    yield made
    made.close()


@pytest.mark.parametrize("stack", STACKS)
def test_a_killed_process_loses_nothing_that_it_flushed(
    stack: str, memory_path: Path, zygote: Zygote, cheap_keys: None
) -> None:
    """A process that writes is killed some time after so many flushes; the same work is then done in memory."""
    pytest.importorskip("cryptography", reason="needs the Python package cryptography")
    flushes = 1 + zlib.crc32(stack.encode()) % 9
    text = in_directory(stack, memory_path).replace("kdf=pbkdf2", f"kdf=pbkdf2:sector={SECTOR}")
    make(text, SIZE)
    with open_stack(text) as layer:
        layer.pwrite(bytes(SIZE), 0)
    told = zygote.kill_at(text, flushes, memory_path)
    durable, possible = after_flushes(flushes, told)
    with open_stack(text) as layer:
        assert agree(bytes(layer.pread(0, SIZE)), durable, possible)


def after_flushes(seed: int, told: int) -> tuple[bytes, dict[int, set[bytes]]]:
    """What may be found when so many flushes were told of: one more may have ended since."""
    history = History(bytes(SIZE))
    ends: list[tuple[bytes, dict[int, set[bytes]]]] = []

    def flushed() -> None:
        ends.append((history.durable, history.possible))

    with Memory(SIZE) as disk:
        work(disk, history, random.Random(seed), flushed, 20 * (told + 20))
    durable, possible = ends[told]
    for sector, found in ends[told + 1][1].items():
        possible.setdefault(sector, set()).update(found)
    return durable, possible


def fork_workers() -> None:
    """Of a Zygote: for each line on standard input, fork a process; its number is the answer.

    It works until it is killed, and puts a byte into a named pipe for each flush that has ended.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        text, seed, fifo = json.loads(line)
        number = os.fork()
        if number == 0:
            work_until_killed(text, seed, os.open(fifo, os.O_WRONLY))
        print(number, flush=True)


def work_until_killed(text: str, seed: int, told: int) -> NoReturn:
    try:
        work(open_stack(text), History(bytes(SIZE)), random.Random(seed), lambda: os.write(told, b"."), 1_000_000)
    finally:
        os._exit(1)
