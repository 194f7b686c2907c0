"""What `xl info` says: of the host, of the daemon's machine, and of the Xen that guests find."""

from __future__ import annotations

import os
from pathlib import Path

_MAJOR, _MINOR, _EXTRA = 4, 17, "-xenia"  # as hypercalls/version answers


def facts(total: int, free: int) -> dict[str, str | int]:
    """By xl's names; `total` and `free` bytes of machine memory."""
    from xenia.cpu.cpuid import hardware_capabilities  # compiled, and loaded for this alone

    host = os.uname()
    nr = nr_cpus()
    return {
        "host": host.nodename, "release": host.release, "version": host.version, "machine": host.machine,
        "nr_cpus": nr, "max_cpu_id": nr - 1, "nr_nodes": 1, "cores_per_socket": nr,
        "threads_per_core": 1, "cpu_mhz": _megahertz(),
        "hw_caps": ":".join(f"{word:08x}" for word in hardware_capabilities()), "virt_caps": " pv",
        "total_memory": total >> 20, "free_memory": free >> 20, "sharing_freed_memory": 0, "sharing_used_memory": 0,
        "outstanding_claims": 0, "free_cpus": 0,
        "xen_major": _MAJOR, "xen_minor": _MINOR, "xen_extra": _EXTRA, "xen_version": f"{_MAJOR}.{_MINOR}{_EXTRA}",
        "xen_caps": "xen-3.0-x86_64 ", "xen_scheduler": "credit2", "xen_pagesize": 4096,
        "platform_params": "virt_start=0xffff800000000000", "xen_changeset": "unavailable", "xen_commandline": "",
        "cc_compiler": "Cython", "cc_compile_by": "xenia", "cc_compile_domain": "xenia", "cc_compile_date": "unknown",
        "build_id": "", "xend_config_format": 4,
    }  # fmt: skip


def nr_cpus() -> int:
    """Processors that the host has for us: so many pcpus the daemon's domains share."""
    return len(os.sched_getaffinity(0))


def _megahertz() -> str:
    """The host's first processor's, as far as it says."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("cpu MHz"):
            return f"{float(line.partition(':')[2]):.3f}"
    return "0.000"
