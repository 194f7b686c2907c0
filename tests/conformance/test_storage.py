"""Every stack of up to three layers keeps what is written to it."""

import os
from collections.abc import Iterator
from itertools import count, product
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.conformance.storage_model import StackMachine

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
