"""A guest of QEMU's with one of Debian's kernels, busybox and a network card of QEMU's."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from bench import peers
from xenia.agent.config import AgentConfig, Mode
from xenia.agent.protocol import AgentConnection, Event, Stdout
from xenia.testing.guests import Debian
from xenia.toolstack.provision.initramfs import ENVIRONMENT, initramfs
from xenia.toolstack.provision.modules import load_order, read_modinfo

QEMU = "qemu-system-x86_64"
MISSING = shutil.which(QEMU) is None
DRIVERS = ("virtio_pci", "virtio_net")


class QemuGuest:
    """Runs a shell script that finds its card as eth0.

    netdev  what QEMU's -netdev says of its other end, but for the name
    """

    def __init__(self, directory: Path, script: str, netdev: str, memory: int = 192) -> None:
        debian = Debian()
        kernel = debian.kernel()
        modules = peers.linux_modules(kernel.release, DRIVERS)
        order = load_order(DRIVERS, {name: read_modinfo(data, name) for name, data in modules.items()})
        load = "".join(f"insmod /drivers/{name}.ko; " for name in order)
        config = AgentConfig(Mode.COMMAND, ["sh", "-c", load + script], ENVIRONMENT)
        ramdisk = directory / "initramfs"
        files = {f"/drivers/{name}.ko": modules[name] for name in order}
        ramdisk.write_bytes(initramfs(debian.base("amd64", ()), config, files))
        self.process = subprocess.Popen(
            [
                *(QEMU, "-accel", "tcg", "-m", str(memory), "-nographic", "-no-reboot", "-nodefaults"),
                *("-serial", "stdio", "-netdev", f"{netdev},id=net", "-device", "virtio-net-pci,netdev=net"),
                *("-kernel", str(kernel.image), "-initrd", str(ramdisk), "-append", "console=ttyS0 quiet"),
            ],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.connection = AgentConnection()
        self.events: list[Event] = []

    def wait_for(self, word: bytes) -> bytes:
        """All that the script has written as soon as that is in it."""
        assert self.process.stdout is not None
        while word not in self.output:
            data = os.read(self.process.stdout.fileno(), 65536)
            assert data, (self.output, self.events)
            self.events += self.connection.receive(data)
        return self.output

    @property
    def output(self) -> bytes:
        """What the script has written."""
        return b"".join(event.data for event in self.events if isinstance(event, Stdout))

    def close(self) -> None:
        """Let it end."""
        self.process.kill()
        self.process.communicate()
