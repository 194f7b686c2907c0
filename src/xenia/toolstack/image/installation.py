"""The guest that makes a system out of an archive: what it is told, and what it tells."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from typing import IO, Protocol

from xenia.agent.config import AgentConfig, Mode
from xenia.agent.protocol import AgentConnection, ConsoleText, Exited, Killed, Stderr, Stdout
from xenia.errors import ConfigError
from xenia.toolstack.config.disk import parse_disk
from xenia.toolstack.config.machine import MIB, MachineConfig
from xenia.toolstack.guest.build import Build
from xenia.toolstack.guest.guest import Guest
from xenia.toolstack.guest.verbs import Destroy, Start, Statistics, Wait
from xenia.toolstack.isolation.isolated import IsolatedMachine
from xenia.toolstack.provision.boot import COMMAND_LINE, Boot, Words
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.provision.initramfs import ENVIRONMENT, Base, initramfs
from xenia.toolstack.provision.kernels import Kernel, unpacked_image

MEMORY = 512 * MIB
_LOOK = 0.2  # seconds between two looks at how far it is
_SCRIPT = "install.sh"
_COPYING = "putting files in place"
# What the script says it does; what else the packages' own programs may print is no stage.
_STAGES = ("making the file system", _COPYING, "unpacking what needs dpkg", "configuring", "finishing")
_LONGEST_LINE = 4096
_KEPT = 65536  # bytes of errors and of the console, the newest
_DONE = {"unpacking what needs dpkg": "unpacked", "configuring": "installed"}  # by stage: the status that ends a step


class BuildWords(Words, Protocol):
    """Where news of a build go."""

    def steps(self, what: str, current: str, done: int, total: int) -> None:
        """`done` of `total` steps of `what`, of which `current` is being taken."""


class Installation:
    """What the guest has told so far, from the bytes of its console."""

    def __init__(self, nr_unpacked: int, nr_packages: int) -> None:
        self._agent = AgentConnection()
        self._line = bytearray()
        self._totals = {"unpacked": nr_unpacked, "installed": nr_packages}
        self._done: set[str] = set()
        self._package = ""
        self.stage = "booting"
        self.errors = bytearray()
        self.console = bytearray()
        self.status: int | None = None

    def receive(self, data: bytes) -> None:
        """Bytes from the console."""
        for event in self._agent.receive(data):
            match event:
                case Stdout(text):
                    *lines, rest = (self._line + text).split(b"\n")
                    self._line = bytearray(rest[:_LONGEST_LINE])
                    for line in lines:
                        self._take(line[:_LONGEST_LINE].decode("utf-8", "replace"))
                case Stderr(text):
                    self.errors = (self.errors + text)[-_KEPT:]
                case ConsoleText(text):
                    self.console = (self.console + text)[-_KEPT:]
                case Exited(status):
                    self.status = status
                case Killed(number):
                    self.status = 128 + number

    def tell(self, words: BuildWords) -> None:
        """What it is doing, for the operator."""
        total = self._totals.get(_DONE.get(self.stage, ""))
        if total:
            words.steps(self.stage, self._package, len(self._done), total)
        else:
            words.progress(self.stage, 0, 0)

    def _take(self, line: str) -> None:
        if line.startswith("stage: ") and line.removeprefix("stage: ") in _STAGES:
            self.stage = line.removeprefix("stage: ")
            self._done.clear()
            self._package = ""
        elif step := re.match(r"processing: \w+: ([^:\s]+)", line):
            self._package = step[1]
        elif (status := re.match(r"status: ([^\s]+): (\w+)", line)) and status[2] == _DONE.get(self.stage):
            self._done |= {status[1]} if len(self._done) < self._totals[status[2]] else set()


def installer(
    base: Base, kernel: Kernel, tools: Mapping[str, bytes], zeroed: bool, cache: Cache, *, script: str = _SCRIPT,
    environment: Mapping[str, str] | None = None,
) -> Boot:  # fmt: skip
    """What to boot, to make a system with `kernel`'s modules on a disk that is known to be `zeroed`, or not.

    script        the file of what the guest runs
    environment   what else it is told
    """
    text = resources.files("xenia.toolstack.image").joinpath(script).read_text()
    told = {"KERNEL": kernel.release, "ZEROED": "yes" if zeroed else "no", **(environment or {})}
    agent = AgentConfig(Mode.COMMAND, ("sh", "-c", text), {**ENVIRONMENT, "TERM": "dumb", **told}, base.modules)
    ramdisk = initramfs(base, agent, {f"/tools/{name}": data for name, data in tools.items()})
    return Boot(bytes(unpacked_image(kernel.image, cache)), ramdisk, " ".join((*COMMAND_LINE, "quiet")))


def nameless(file: IO[bytes]) -> str:
    """The words for a file without a name as a disk, which mean the same in another process."""
    return f"file:/proc/{os.getpid()}/fd/{file.fileno()}"


def install(boot: Boot, disk: str, archive: str, installation: Installation, words: BuildWords) -> None:
    """Run the guest with its two disks until it is done; they are closed then.  ConfigError where it fails.

    It runs programs of the packages, and what they might break into is walled in, in a process of its own.
    """
    disks = (parse_disk(disk), replace(parse_disk(archive), read_only=True))
    with IsolatedMachine(IsolatedMachine.memory_for(MEMORY)) as machine:
        guest = Guest(MachineConfig(memory=MEMORY, disks=disks), machine)
        guest.do(Build(boot, installation.receive))
        guest.do(Start())
        while guest.do(Wait(_LOOK)) is None:
            if installation.stage == _COPYING:
                source = guest.do(Statistics())["disks"][1]
                words.progress(_COPYING, source["bytes_read"], source["size"])
            else:
                installation.tell(words)
        guest.do(Destroy())
    if installation.status != 0:
        told = (installation.errors or installation.console).decode("utf-8", "replace").split("\n")
        lines = [line.strip() for line in told if line.strip()]
        for line in lines[:-1]:
            words.warn(line)
        raise ConfigError(f"cannot make the system: {installation.stage} failed: {''.join(lines[-1:])}")
