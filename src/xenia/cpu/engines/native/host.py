"""What the native engine needs of the host, and the program of its stubs."""

from __future__ import annotations

import platform
import sys
from functools import cache
from pathlib import Path

from xenia.cpu.engines.native.build import beside_source
from xenia.errors import ConfigError


def require() -> None:
    """ConfigError where this host lacks something, or the package does: one line that says what."""
    reason = lack()
    if reason is not None:
        raise ConfigError(f"the native engine cannot run here: {reason}")


@cache  # who is walled in can look no more
def lack(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """What is missing; None nothing that can be told beforehand."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"it needs x86-64 Linux, and this is {platform.machine()} {platform.system()}"
    if not beside_source().exists():
        return "its program was not built with this package, which takes a C compiler"
    try:
        flags = _flags(cpuinfo)
    except OSError:
        return f"{cpuinfo} cannot be read, which says what the processor has"
    if "fsgsbase" not in flags:
        return (
            "the processor, or the hypervisor below, gives nothing that lets programs load the bases of FS and GS "
            "(FSGSBASE)"
        )
    return None


@cache
def hides_cpuid(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether its processor can keep CPUID from programs: by CPUID faulting."""
    try:
        return "cpuid_fault" in _flags(cpuinfo)
    except OSError:
        return False


def _flags(cpuinfo: Path) -> list[str]:
    lines = cpuinfo.read_text().splitlines()
    return next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])


def program() -> bytes:
    """The program's file: what of it is at its address in a stub, from its first page on."""
    return beside_source().read_bytes()
