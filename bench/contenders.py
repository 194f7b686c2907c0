"""Everyone who can run the workload, each as one command from start to exit."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import peers
from bench.workload import DONE, Workload

MEMORY = 256  # MiB, everyone's
TIMEOUT = 300


class Failed(Exception):
    """A contender that did not finish the workload."""


@dataclass(frozen=True)
class Run:
    """One run: seconds of wall time, peak resident memory in KiB, and what the guest wrote."""

    seconds: float
    peak: int
    output: str


Contender = Callable[[Workload], Run]


def said(command: list[str], environment: Mapping[str, str] | None = None, timeout: float = TIMEOUT) -> str:
    """What a command writes until it ends, or its time is over."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    )
    try:
        return process.communicate(timeout=timeout)[0].decode("utf-8", "replace")
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[0].decode("utf-8", "replace")


def timed(command: list[str], environment: Mapping[str, str] | None = None) -> Run:
    """Run a command to its end.  Failed when the guest did not say that it finished."""
    begun = time.monotonic()
    output = said(command, environment)
    seconds = time.monotonic() - begun
    if DONE not in output:
        raise Failed(f"{command[0]}: the workload did not finish; it ended with:\n{output[-600:]}")
    return Run(seconds, _peak(output), _lines(output))


def _peak(output: str) -> int:
    match = re.search(r"^peak (\d+)$", output, re.MULTILINE)
    return int(match[1]) if match else 0


def _lines(output: str) -> str:
    return re.sub(r"^peak \d+\n", "", output.replace("\r", ""), flags=re.MULTILINE)


# Runs a command and prints the peak of its resident memory: wait4 in a process of its own, so that runs don't mix.
WITH_PEAK = (
    "import resource, subprocess, sys; status = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL).returncode; "
    "print('peak', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


def _measured(command: list[str], environment: Mapping[str, str] | None = None) -> Run:
    return timed([sys.executable, "-S", "-c", WITH_PEAK, *command], environment)


ROOT = Path(__file__).resolve().parents[1]


def xenia(clock: str, clone: Path = ROOT) -> Contender:
    """Xenia's own command, in real or in warped time."""

    def run(work: Workload) -> Run:
        path = os.pathsep.join(filter(None, (str(clone / "src"), os.environ.get("PYTHONPATH"))))
        command = [
            *(sys.executable, "-m", "xenia", "run", "--quiet", "--memory", f"{MEMORY}M", "--clock", clock),
            *("--kernel", str(work.kernel), "--initrd", str(work.initrd), "--append", "quiet"),
        ]
        return _measured(command, {**os.environ, "PYTHONPATH": path})

    return run


def qemu(machine: str, *, unpacked: bool = False) -> Contender:
    """QEMU's emulator with that machine, the kernel booted directly, no device but a serial port.

    unpacked    give it the kernel out of the bzImage, which starts over PVH and unpacks nothing at each boot
    """

    def run(work: Workload) -> Run:
        return _measured([
            *(peers.qemu(), "-accel", "tcg", "-cpu", "max", "-machine", machine, "-m", str(MEMORY)),
            *("-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot"),
            *("-kernel", str(work.unpacked() if unpacked else work.kernel)),
            *("-initrd", str(work.initrd), "-append", "console=ttyS0 quiet"),
        ])  # fmt: skip

    return run


def user_mode_linux(work: Workload) -> Run:
    """User-Mode Linux: Debian's build of a kernel of its own, not the workload's."""
    return _measured([
        *(peers.user_mode_linux(), f"mem={MEMORY}M", f"initrd={work.initrd}", "con=null", "con0=fd:0,fd:1", "quiet"),
    ])  # fmt: skip


def real_xen(work: Workload) -> Run:
    """Real Xen under QEMU, the kernel as an unprivileged domain beside a dom0 that does nothing else."""
    from xenia.domain.build.bzimage import load_image

    kernel = bytes(load_image(work.kernel))
    program = peers.Program(kernel, work.initrd.read_bytes(), "console=hvc0 quiet", MEMORY, TIMEOUT)
    begun = time.monotonic()
    answer = peers.real_xen({"linux": program}, arguments=peers.FASTEST).get("linux")
    seconds = time.monotonic() - begun
    if answer is None or DONE not in answer.lines:
        raise Failed(f"real Xen: the workload did not finish: {answer}")
    return Run(seconds, 0, "\n".join(answer.lines))


def real_xen_dom0(work: Workload) -> Run:
    """Real Xen under QEMU, the kernel as its dom0."""
    return _measured([
        *(peers.qemu(), "-accel", "tcg", "-cpu", peers.CPU, "-m", str(MEMORY + 160), "-display", "none", "-nodefaults"),
        *("-no-reboot", "-serial", "stdio", "-kernel", str(peers.xen())),
        *("-append", f"{peers.XEN_ARGUMENTS} {peers.FASTEST} dom0_mem={MEMORY}M"),
        *("-initrd", f"{work.kernel} console=hvc0 quiet,{work.initrd}"),
    ])  # fmt: skip


CONTENDERS: dict[str, tuple[str, Contender]] = {
    "xenia": ("Xenia, real time", xenia("real")),
    "warped": ("Xenia, warped time", xenia("warped")),
    "qemu-pc": ("QEMU TCG, pc", qemu("pc")),
    "qemu-q35": ("QEMU TCG, q35", qemu("q35")),
    "qemu-pvh": ("QEMU TCG, pc, unpacked kernel", qemu("pc", unpacked=True)),
    "qemu-microvm": ("QEMU TCG, microvm, unpacked kernel", qemu("microvm,pit=on,pic=on,rtc=on", unpacked=True)),
    "uml": ("User-Mode Linux (another kernel)", user_mode_linux),
    "xen-domu": ("real Xen in QEMU TCG, as a domU", real_xen),
    "xen-dom0": ("real Xen in QEMU TCG, as dom0", real_xen_dom0),
}


def xenia_console(kernel: Path, *options: str, memory: int = 16, clone: Path = ROOT) -> str:
    """What a guest writes on its console under Xenia."""
    environment = {**os.environ, "PYTHONPATH": str(clone / "src")}
    command = [sys.executable, "-m", "xenia", "run", "--quiet", "--memory", f"{memory}M", "--kernel", str(kernel)]
    command += options
    answer = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, env=environment)
    if answer.returncode:
        raise Failed(answer.stderr.decode("utf-8", "replace"))
    return answer.stdout.decode("utf-8", "replace").replace("\r", "")


def xenia_log(work: Workload) -> str:
    """Linux's log under Xenia."""
    return xenia_console(work.kernel, "--initrd", str(work.initrd), memory=MEMORY)
