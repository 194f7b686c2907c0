"""Running Debian's kernels on Xenia, with programs of the tests' own in their RAM disk."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from guests import build as guests
from xenia.errors import ConfigError
from xenia.shutdown import Shutdown
from xenia.storage.layer import Layer
from xenia.testing.guests import Debian, linux
from xenia.toolstack.config.choices import Clock
from xenia.toolstack.config.machine import MIB
from xenia.toolstack.machine.domain import Domain
from xenia.toolstack.machine.machine import Machine
from xenia.toolstack.provision.initramfs import FILE_SYSTEMS, FRONTENDS

PROGRAMS = Path(__file__).with_name("programs")
OUTPUT = guests.OUTPUT / "programs"
FLAGS = (
    *("-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unused-result"),
    *("-static", "-no-pie", "-fno-pie", "-s"),
)
FLAGS_OF = {  # "legacy" is a 32-bit program, and has no C library
    "legacy": ("-m32", "-ffreestanding", "-nostdlib", "-fno-stack-protector", "-mno-sse", "-fcf-protection=none"),
}
NAMES = tuple(sorted(path.stem for path in PROGRAMS.glob("*.c")))


@functools.cache
def program(name: str, folder: Path = PROGRAMS) -> bytes:
    """A test program, compiled; the test is skipped where it cannot be."""
    target, source = OUTPUT / name, folder / f"{name}.c"
    newest = max(path.stat().st_mtime for path in (source, *folder.glob("*.h")))
    if not target.exists() or target.stat().st_mtime < newest:
        try:
            compiler = guests.compiler()
        except guests.NoCompiler as missing:
            pytest.skip(str(missing))
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([compiler, *FLAGS, *FLAGS_OF.get(name, ()), "-o", str(target), str(source)], check=True)
    return target.read_bytes()


def skip_without(flavour: str, modules: Sequence[str], on_demand: Sequence[str] = ()) -> None:
    """Skip the test where Debian's kernel, or what is to be in its RAM disk, cannot be had."""
    try:
        Debian().base(flavour, modules, on_demand)
    except ConfigError as missing:
        pytest.skip(str(missing))


class Quiet:
    """Nobody is told anything."""

    def say(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...
    def progress(self, what: str, done: int, total: int) -> None: ...
    def busy(self, what: str) -> None: ...
    def clear(self) -> None: ...


@dataclass(frozen=True)
class Report:
    """What a guest left: its console, how it ended, and what the recount of its frames and its end found."""

    console: str
    shutdown: Shutdown | None
    audit: list[str]
    still_held: int
    virtual_seconds: float
    statistics: Mapping[str, Any] = field(default_factory=dict)

    def failures(self) -> list[str]:
        """The lines that tell of something failed, and those before them that say what."""
        return [line for line in self.console.splitlines() if "FAILED" in line or line.startswith("    line ")]


@dataclass(frozen=True)
class Attached:
    """A disk of a guest: what is behind it, and the options of Domain.attach_disk."""

    layer: Layer
    options: Mapping[str, Any] = field(default_factory=dict)


class Stock:
    """A guest with one of Debian's kernels, which runs a shell script and powers off."""

    def __init__(
        self,
        script: str,
        *,
        flavour: str = "amd64",
        memory: int = 256,
        clock: Clock = "real",
        scatter: int | None = None,
        check: bool = False,
        programs: Iterable[str] = (),
        append: str = "quiet",
        disks: Iterable[Attached] = (),
        files: Mapping[str, bytes] | None = None,
        load_modules: bool = True,
        vcpus: int = 1,
        max_vcpus: int | None = None,
        engine: str = "emulated",
    ) -> None:
        """load_modules    otherwise the script has to, with `modprobe`"""
        disks = tuple(disks)
        on_demand = FILE_SYSTEMS if disks else ()
        skip_without(flavour, FRONTENDS, on_demand)
        programs_of_script = {f"/bin/test-{name}": program(name) for name in programs}
        self._output = bytearray()
        self.machine = Machine(Machine.memory_for(memory * MIB), scatter=scatter, check=check, engine=engine)
        self.free = self.machine.free_memory
        try:
            self.domain: Domain = linux(
                self.machine,
                script,
                flavour=flavour,
                on_demand=on_demand,
                load_modules=load_modules,
                files={**(files or {}), **programs_of_script},
                append=append,
                memory=memory * MIB,
                clock=clock,
                vcpus=vcpus,
                max_vcpus=max_vcpus,
                console=self._output.extend,
            )
            for disk in disks:
                self.domain.attach_disk(disk.layer, **disk.options)
        except ConfigError:
            self.machine.close()
            raise

    @property
    def console(self) -> str:
        """What the guest wrote so far."""
        return self._output.decode("utf-8", "replace").replace("\r", "")

    def store_keys(self, path: str) -> dict[str, str]:
        """What is in a directory of xenstore."""
        keys = self.machine.xenstore
        return {name: keys.read(f"{path}/{name}") for name in keys.directory(path)}

    def start(self) -> Stock:
        """Let it run."""
        self.domain.start()
        return self

    def finish(self, timeout: float = 120) -> Report:
        """Wait for the guest's end, recount its frames, and destroy it."""
        shutdown = self.domain.wait(timeout)
        self.domain.handle.stop()
        audit = self.domain.handle.audit()
        seconds = self.domain.handle.system_time / 1e9
        statistics = self.domain.statistics
        self.machine.close()
        return Report(self.console, shutdown, audit, self.free - self.machine.free_memory, seconds, statistics)
