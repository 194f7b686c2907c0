"""The guest that makes a system out of an archive: what it is told, and what it tells."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources

from xenia.backends.storage.stack import open_stack
from xenia.domain.build.elf import load_elf
from xenia.errors import ConfigError
from xenia.toolstack.agent import AgentConfig, AgentConnection, ConsoleText, Exited, Killed, Mode, Stderr, Stdout
from xenia.toolstack.boot import COMMAND_LINE, Words
from xenia.toolstack.cache import Cache
from xenia.toolstack.initramfs import ENVIRONMENT, FILE_SYSTEMS, FRONTENDS, base_initramfs, initramfs
from xenia.toolstack.kernels import Kernel, Kernels, unpacked_image
from xenia.toolstack.machine import Machine
from xenia.toolstack.machine_config import MIB

MEMORY = 512 * MIB
_LOOK = 0.2  # seconds between two looks at how far it is
_SCRIPT = "install.sh"
_DONE = {"unpacking what needs dpkg": "unpacked", "configuring": "installed"}  # by stage: the status that ends a step


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
                    self._line = bytearray(rest)
                    for line in lines:
                        self._take(line.decode("utf-8", "replace"))
                case Stderr(text):
                    self.errors += text
                case ConsoleText(text):
                    self.console += text
                case Exited(status):
                    self.status = status
                case Killed(number):
                    self.status = 128 + number

    @property
    def words(self) -> str:
        """What it is doing, for the operator."""
        total = self._totals.get(_DONE.get(self.stage, ""))
        return f"{self.stage} {self._package} ({len(self._done)} of {total})" if total else self.stage

    def _take(self, line: str) -> None:
        if line.startswith("stage: "):
            self.stage = line.removeprefix("stage: ")
            self._done.clear()
            self._package = ""
        elif step := re.match(r"processing: \w+: ([^:\s]+)", line):
            self._package = step[1]
        elif (status := re.match(r"status: ([^\s]+): (\w+)", line)) and status[2] == _DONE.get(self.stage):
            self._done.add(status[1])


def install(
    disk: str,
    archive: str,
    archive_size: int,
    kernel: Kernel,
    kernels: Kernels,
    cache: Cache,
    installation: Installation,
    tools: Mapping[str, bytes],
    environment: Mapping[str, str],
    words: Words,
) -> None:
    """Boot a guest with the disk and the archive that makes a system of them.  ConfigError where it does not."""
    base = base_initramfs(cache, kernels.busybox(), kernel, (*FRONTENDS, *FILE_SYSTEMS))
    script = resources.files("xenia.toolstack.image").joinpath(_SCRIPT).read_text()
    agent = AgentConfig(
        Mode.COMMAND, ("sh", "-c", script), {**ENVIRONMENT, **environment, "TERM": "dumb"}, base.modules
    )
    ramdisk = initramfs(base, agent, {f"/tools/{name}": data for name, data in tools.items()})
    elf = load_elf(unpacked_image(kernel.image, cache), str(kernel.image))
    with Machine(Machine.memory_for(MEMORY)) as machine:
        domain = machine.create_domain(
            elf,
            initrd=ramdisk,
            cmdline=" ".join((*COMMAND_LINE, "quiet", "mitigations=off")),
            memory=MEMORY,
            console=installation.receive,
        )
        domain.attach_disk(open_stack(disk))
        source = domain.attach_disk(open_stack(archive, read_only=True), read_only=True)
        domain.start()
        stage = ""
        while domain.wait(_LOOK) is None:
            if installation.stage != stage:
                stage = installation.stage
                words.progress(stage, 0, 0)
            if stage == "putting files in place":
                words.progress(stage, source.stats.bytes_read, archive_size)
            else:
                words.busy(installation.words)
    if installation.status != 0:
        for text in (installation.errors or installation.console).decode("utf-8", "replace").splitlines()[-20:]:
            words.say(text.rstrip())
        raise ConfigError(f"the system could not be made: {installation.stage} failed in the guest (see above)")
