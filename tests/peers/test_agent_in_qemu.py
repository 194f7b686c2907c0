"""The initramfs and the agent in it, on a stock kernel that QEMU boots: a judge of both that is none of ours."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from xenia.agent.config import AgentConfig, Mode
from xenia.agent.protocol import AgentConnection, Event, Exited, Started, Stderr, Stdout
from xenia.errors import ConfigError
from xenia.testing.guests import Debian
from xenia.toolstack.provision.initramfs import ENVIRONMENT, initramfs
from xenia.toolstack.provision.kernels import Kernel

QEMU = "qemu-system-x86_64"

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which(QEMU) is None, reason=f"{QEMU} is not installed"),
]


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    try:
        return Debian().kernel()
    except ConfigError as reason:
        pytest.skip(f"no kernel to boot: {reason}")


class Machine:
    """A guest of QEMU whose serial line is its console."""

    def __init__(self, kernel: Kernel, ramdisk: Path) -> None:
        self.process = subprocess.Popen(
            [
                *(QEMU, "-m", "256", "-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio"),
                *("-kernel", str(kernel.image), "-initrd", str(ramdisk), "-append", "console=ttyS0 quiet"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.connection = AgentConnection()
        self.events: list[Event] = []

    def read(self) -> bool:
        """Take what the guest says next; False at the end."""
        assert self.process.stdout is not None
        data = os.read(self.process.stdout.fileno(), 65536)
        self.events += self.connection.receive(data)
        return bool(data)

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()


@pytest.fixture
def machine(kernel: Kernel, tmp_path: Path) -> Iterator[Machine]:
    command = ["sh", "-c", "mount | wc -l; cat > /tmp/x; wc -c < /tmp/x; md5sum < /tmp/x; hostname >&2; exit 9"]
    config = AgentConfig(Mode.COMMAND, command, ENVIRONMENT, hostname="visitor")
    ramdisk = tmp_path / "initramfs"
    ramdisk.write_bytes(initramfs(Debian().base("amd64"), config))
    machine = Machine(kernel, ramdisk)
    yield machine
    machine.process.kill()
    machine.process.communicate()


def test_a_stock_kernel_runs_a_command_with_binary_input_and_powers_off(machine: Machine) -> None:
    data = bytes(range(256)) * 40
    while not any(isinstance(event, Started) for event in machine.events):
        assert machine.read(), machine.events
    machine.write(machine.connection.send_input(data) + machine.connection.send_end_of_input())
    while machine.read():
        pass
    stdout = b"".join(event.data for event in machine.events if isinstance(event, Stdout))
    stderr = b"".join(event.data for event in machine.events if isinstance(event, Stderr))
    assert stdout.split() == [b"6", b"10240", hashlib.md5(data).hexdigest().encode(), b"-"]
    assert stderr == b"visitor\n"
    assert [event for event in machine.events if isinstance(event, Exited)] == [Exited(9)]
    assert machine.process.wait() == 0
