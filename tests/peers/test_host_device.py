"""Block devices of the host, which are loop devices here, as disks."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.conformance.storage_model import StackMachine, in_directory
from tests.unit.backends.vbd.conftest import Blkfront
from xenia.abi.blkif import Operation, Status
from xenia.errors import ConfigError
from xenia.storage.stack import create_stack, open_stack

pytestmark = pytest.mark.peer

SIZE = 1 << 20


@pytest.fixture(params=[512, 4096])
def device(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A block device with sectors of that size."""
    file = tmp_path / "loop"
    file.touch()
    os.truncate(file, SIZE)
    if shutil.which("losetup") is None:
        pytest.skip("losetup is not installed")
    done = subprocess.run(
        ["losetup", "--find", "--show", "--sector-size", str(request.param), file],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"this host gives us no loop device: {done.stderr.strip()}")
    path = Path(done.stdout.strip())
    yield path
    subprocess.run(["losetup", "--detach", path], check=True)


@pytest.mark.parametrize("layers", ["", ",cache:size=128K:writeback", ",qcow2:cluster=4K", ",cow:DIR/overlay"])
def test_a_device_keeps_what_is_written_to_it(device: Path, layers: str, tmp_path: Path) -> None:
    text = in_directory(f"device:{device}{layers}", tmp_path)
    run_state_machine_as_test(
        type("Machine", (StackMachine,), {"text": staticmethod(lambda: text)}),
        settings=settings(
            max_examples=1, stateful_step_count=40, deadline=None, database=None, derandomize=True,
            phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


def test_a_guest_sees_the_devices_own_sectors(device: Path, tmp_path: Path) -> None:
    with open_stack(f"device:{device}") as layer:
        native = layer.block_size.minimum
    for text, expected in (
        (f"device:{device}", native),
        (f"device:{device},cow:{tmp_path / 'overlay'}", native),
        (f"device:{device},qcow2", 512),
    ):
        create_stack(text, SIZE // 2)
        front = Blkfront(open_stack(text))
        try:
            assert front.connect()["sector-size"] == str(expected)
            pages = front.guest.share(2)
            pages.memory[:4096] = b"x" * 4096
            assert front.do(front.request(Operation.WRITE, 16, [(pages.refs[0], 0, 7)])) == Status.OKAY
            assert front.do(front.request(Operation.FLUSH_DISKCACHE, 0, [])) == Status.OKAY
            assert front.do(front.discard(32, 8)) == Status.OKAY
            assert front.do(front.request(Operation.READ, 16, [(pages.refs[1], 0, 7)])) == Status.OKAY
            assert bytes(pages.memory[4096:]) == b"x" * 4096
        finally:
            front.close()


def test_a_device_that_is_in_use_is_refused(device: Path) -> None:
    with open_stack(f"device:{device}"), pytest.raises(ConfigError, match="busy"):
        open_stack(f"device:{device}")
