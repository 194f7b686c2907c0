"""Every stack of up to three layers keeps what is written to it."""

import random
import threading
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.conformance.storage_model import SIZE, STACKS, StackMachine, in_directory, make, pattern
from xenia.storage.layer import Operation, Request
from xenia.storage.stack import open_stack

pytest.importorskip("cryptography", reason="needs the Python package cryptography")


@pytest.mark.parametrize("stack", STACKS)
def test_a_stack_keeps_what_is_written_to_it(stack: str, memory_path: Path, cheap_keys: None) -> None:
    numbers = count()

    def text() -> str:
        path = memory_path / str(next(numbers))
        path.mkdir()
        return in_directory(stack, path)

    machine = type("Machine", (StackMachine,), {"text": staticmethod(text)})
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
    text = in_directory(stack, memory_path)
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
                            layer.submit(read)
                            assert not read[0].error and found == held[place]
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=work, args=(own,)) for own in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failed, failed
