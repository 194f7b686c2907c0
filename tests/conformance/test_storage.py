"""Every stack of up to three layers keeps what is written to it."""

import os
import random
import threading
from collections.abc import Iterator
from itertools import count, product
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.conformance.storage_model import SIZE, StackMachine, make, pattern
from xenia.backends.storage.layer import Operation, Request
from xenia.backends.storage.stack import open_stack

pytest.importorskip("cryptography", reason="needs the Python package cryptography")

BOTTOMS = ("file:DIR/disk", "qcow2:DIR/disk.qcow2:cluster=4K")
FILTERS = (
    "qcow2:cluster=512:version=2",
    "compress",
    "crypt:key=@DIR/key:plain",
    "cow:DIR/overlay",
    "checkpoint:DIR/checkpoints",
    "cache:size=128K",
    "cache:size=128K:writeback",
    "throttle:bytes=100G",
    "trace",
)
STACKS = [
    ",".join((bottom, *filters))
    for bottom in BOTTOMS
    for depth in range(3)
    for filters in product(FILTERS, repeat=depth)
]


@pytest.fixture
def memory_path() -> Iterator[Path]:
    """A directory in memory where the host has such: thousands of flushes are slow on a disk."""
    shared = Path("/dev/shm")
    with TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as name:
        yield Path(name)


@pytest.mark.parametrize("stack", STACKS)
def test_a_stack_keeps_what_is_written_to_it(stack: str, memory_path: Path) -> None:
    numbers = count()

    def directory() -> Path:
        path = memory_path / str(next(numbers))
        path.mkdir()
        (path / "key").write_bytes(bytes(range(64)))
        return path

    text = stack
    for name in ("overlay", "checkpoints"):
        if stack.count(name) > 1:  # two of a kind need two places
            text = text[::-1].replace(name[::-1], f"{name}2"[::-1], 1)[::-1]
    machine = type("Machine", (StackMachine,), {"text": text, "directory": staticmethod(directory)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=3, stateful_step_count=15, deadline=None, database=None, derandomize=True,
            phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    "stack",
    [
        "qcow2:DIR/disk.qcow2:cluster=4K",
        "file:DIR/disk,compress",
        "file:DIR/disk,cow:DIR/overlay",
        "file:DIR/disk,checkpoint",
        "file:DIR/disk,cache:size=128K:writeback",
        "file:DIR/disk,crypt:key=@DIR/key:plain:sector=4096,qcow2:cluster=512",
    ],
)
def test_threads_do_not_see_each_others_work(stack: str, memory_path: Path) -> None:
    """Each works on every fourth stretch of the disk, and finds there what it wrote, with and without waiting."""
    (memory_path / "key").write_bytes(bytes(range(64)))
    text = stack.replace("DIR", str(memory_path))
    make(text)
    failed: list[BaseException] = []
    with open_stack(text) as layer:

        def work(own: int) -> None:
            chance = random.Random(own)
            held = {place: bytes(3000) for place in range(own, SIZE // 3000, 4)}
            try:
                for step in range(150):
                    place = chance.choice(list(held))
                    match chance.randrange(8):
                        case 0:
                            layer.flush()
                        case 1:
                            layer.write_zeroes(place * 3000, 3000)
                            held[place] = bytes(3000)
                        case 2 | 3 | 4:
                            held[place] = pattern(own * 1000 + step, 3000)
                            layer.pwrite(held[place], place * 3000)
                        case _:
                            found = bytearray(3000)
                            read = [Request(Operation.READ, place * 3000, 3000, [memoryview(found)])]
                            layer.submit(layer.submit(read, nowait=True))
                            assert not read[0].error and found == held[place]
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=work, args=(own,)) for own in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failed, failed
