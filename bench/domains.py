"""Domains beside each other, and domains of several vcpus: what two processors of the host are to them.

python -m bench.domains [--runs N] [ROW...]

    create      from nothing to the guest's first instructions, a tiny guest and a stock kernel
    two         two stock guests that compute, in one machine, over one
    vcpus       one stock guest with two vcpus over one with one: arithmetic, sha256sum, gcc by `make -j2`
    calls       two processes that fork, or fault pages in, or answer their children over pipes: two vcpus over one, and
                beside QEMU
    make        `make -j2` of a small C project on two vcpus, beside QEMU TCG `-smp 2` (multi-threaded) with the same
                kernel and initramfs.  Of each guest's builds the first translates, so both are told
    emulated    vcpus and make, with `--engine emulated`; the others are as users have them (`auto`)
    memory      what a further stock guest takes of the host above its own memory (proportional set size of the process
                without the machine's memory), a second after it ran its first program

Contenders take turns.  Times are the guests' own; medians of the runs.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

from bench import peers
from bench.compiling import compiling
from bench.contenders import ROOT, TIMEOUT
from bench.overhead import resident
from bench.workload import DONE, Workload, static_program

MEMORY = 700  # MiB, everyone's
ROUNDS = 150000000
COMPUTING = f"""
measure arithmetic twice busy {ROUNDS}
measure sha256sum twice hash 800
"""
CALLS = """
measure forks twice calls forks 800
measure faults twice calls faults 1500
measure pipes twice calls pipes 10000
"""
BUILDS = "measure first build -j2\n" + "measure later build -j2\n" * 3
Times = Mapping[str, float]


def xenia(vcpus: int, engine: str = "auto") -> Callable[[Workload], list[str]]:
    """Xenia's own command."""
    return lambda work: [
        *(sys.executable, "-m", "xenia", "run", "--quiet", "--net", "none", "--memory", f"{MEMORY}M"),
        *("--vcpus", str(vcpus), "--kernel", str(work.unpacked()), "--initrd", str(work.initrd), "--append", "quiet"),
        *("--engine", engine),
    ]


def qemu(vcpus: int) -> Callable[[Workload], list[str]]:
    """QEMU's emulator, a host thread for each processor."""
    return lambda work: [
        *(peers.qemu(), "-accel", "tcg,thread=multi", "-cpu", "max", "-machine", "pc", "-m", str(MEMORY)),
        *("-smp", str(vcpus), "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot"),
        *("-kernel", str(work.unpacked()), "-initrd", str(work.initrd), "-append", "console=ttyS0 quiet"),
    ]


def measured(command: list[str]) -> Times:
    """Seconds that the guest says each step took: the median of those of one name."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    answer = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, env=environment, check=False
    )
    output = answer.stdout.decode("utf-8", "replace").replace("\r", "")
    if DONE not in output:
        raise SystemExit(f"{command[0]}: the workload did not finish; it ended with:\n{output[-600:]}")
    found: dict[str, list[float]] = {}
    for name, hundredths in re.findall(r"^bench (\w+) (\d+)$", output, re.MULTILINE):
        found.setdefault(name, []).append(int(hundredths) / 100)
    return {name: statistics.median(times) for name, times in found.items()}


def by_turns(runs: int, steps: str, contenders: Mapping[str, Callable[[Workload], list[str]]]) -> dict[str, Times]:
    """The medians of each contender's times."""
    found: dict[str, list[Times]] = {name: [] for name in contenders}
    with tempfile.TemporaryDirectory() as directory:
        work = compiling(Path(directory), steps)
        for _ in range(runs):
            for name, command in contenders.items():
                found[name].append(measured(command(work)))
    return {
        name: {step: statistics.median(times[step] for times in all_times) for step in all_times[0]}
        for name, all_times in found.items()
    }


def until_it_speaks(kernel: bytes, memory: int) -> float:
    """Seconds."""
    from xenia.toolstack.machine.machine import Machine

    spoke = threading.Event()

    def said(_: bytes) -> None:
        spoke.set()

    with Machine(Machine.memory_for(memory)) as machine:
        began = time.monotonic()
        machine.create_domain(kernel, memory=memory, cmdline="earlyprintk=xen", console=said).start()
        spoke.wait(TIMEOUT)
        return time.monotonic() - began


def create(runs: int) -> None:
    """Until the tiny guest has written its first line, and the stock kernel its own."""
    from guests import build as guests
    from xenia.testing.guests import Debian

    stock = Debian().image()
    tiny = guests.build_embedded().read_bytes()
    for name, kernel, memory in (("a tiny guest", tiny, 16 << 20), ("a stock kernel", stock, 256 << 20)):
        times = [until_it_speaks(kernel, memory) for _ in range(runs)]
        print(f"create to the first words of {name + ', ms':20} {statistics.median(times) * 1e3:8.1f}")


def computing(count: int) -> float:
    """Seconds that so many domains in one machine take, each for the same."""
    from xenia.testing.guests import linux
    from xenia.toolstack.machine.machine import Machine

    now = "now() { read up idle < /proc/uptime; echo ${up%.*}${up#*.}; }; "
    script = f"{now}began=$(now); busy {ROUNDS * 2} > /dev/null; echo bench busy $(($(now) - began))"
    files = {"/bin/busy": static_program("busy")}
    memory = 128 << 20
    output = [bytearray() for _ in range(count)]
    with Machine(Machine.memory_for(*[memory] * count)) as machine:
        domains = [
            linux(machine, script, flavour="cloud-amd64", memory=memory, files=files, console=said.extend)
            for said in output
        ]
        for domain in domains:
            domain.start()
        for domain in domains:
            domain.wait(TIMEOUT)
    return max(int(re.findall(rb"bench busy (\d+)", bytes(said))[0]) / 100 for said in output)


def aggregate(runs: int) -> None:
    """What two domains in one machine do, over what one of them does alone."""
    alone, together = zip(*((computing(1), computing(2)) for _ in range(runs)), strict=True)
    ratio = 2 * statistics.median(alone) / statistics.median(together)
    print(f"two busy domains over one {'':25} {ratio:8.2f} x")


def vcpus(runs: int, engine: str = "auto") -> None:
    """The same work on two vcpus, and on one."""
    times = by_turns(runs, COMPUTING + BUILDS, {"one": xenia(1, engine), "two": xenia(2, engine)})
    names = {"first": "gcc, make -j2 for the first time", "later": "gcc, make -j2 again"}
    for step, one in times["one"].items():
        two = times["two"][step]
        print(f"two vcpus over one: {names.get(step, step):32} {one / two:7.2f} x  ({one:.2f} s, {two:.2f} s)")


def calls(runs: int) -> None:
    """What the kernel does, on both at once."""
    times = by_turns(runs, CALLS, {"one": xenia(1), "two": xenia(2), "qemu": qemu(2)})
    for step, two in times["two"].items():
        print(f"two vcpus over one: {step:32} {times['one'][step] / two:7.2f} x  ({two:.2f} s)")
        print(f"QEMU -smp 2 over Xenia: {step:28} {times['qemu'][step] / two:7.2f} x")


def make(runs: int, engine: str = "auto") -> None:
    """Against QEMU."""
    times = by_turns(runs, BUILDS, {"xenia": xenia(2, engine), "qemu": qemu(2)})
    for step, name in (("first", "for the first time"), ("later", "again")):
        ours, theirs = times["xenia"][step], times["qemu"][step]
        print(f"QEMU -smp 2 over Xenia: make -j2 {name:18} {theirs / ours:8.2f} x  ({theirs:.2f} s, {ours:.2f} s)")


def emulated(runs: int) -> None:
    """Programs as on a host that lets none run natively: two vcpus over one, and beside QEMU."""
    vcpus(runs, "emulated")
    make(runs, "emulated")


def overhead(_: int) -> None:
    """Of one to four guests in one machine, each of which is at work before the next begins."""
    from xenia.testing.guests import linux
    from xenia.toolstack.machine.machine import Machine

    size, count = 256 << 20, 4
    others: list[float] = []
    with Machine(Machine.memory_for(*[size] * count)) as machine:
        for number in range(count + 1):
            others.append(resident(os.getpid())[1] / 1024)
            if number == count:
                break
            ready = threading.Event()
            said = bytearray()

            def listen(data: bytes, said: bytearray = said, ready: threading.Event = ready) -> None:
                said.extend(data)
                if b"at work" in said:
                    ready.set()

            linux(machine, "echo at work; sleep 1000000", memory=size, console=listen).start()
            if not ready.wait(TIMEOUT):
                raise SystemExit(f"the guest did not get to its first program: {said[-600:]!r}")
            time.sleep(1)
    each = [now - before for before, now in pairwise(others)]
    print(f"the first stock domain above its memory, MB {each[0]:15.1f}")
    print(f"a further one, MB {'':25} {statistics.mean(each[1:]):15.1f}  ({min(each[1:]):.1f} to {max(each[1:]):.1f})")


ROWS: dict[str, Callable[[int], None]] = {
    "create": create,
    "two": aggregate,
    "vcpus": vcpus,
    "calls": calls,
    "make": make,
    "memory": overhead,
    "emulated": emulated,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="runs of each (default: 3)")
    parser.add_argument("rows", nargs="*", metavar="ROW", choices=[*ROWS, []], help=" ".join(ROWS))
    options = parser.parse_args()
    for name in options.rows or ROWS:
        try:
            ROWS[name](options.runs)
        except peers.Missing as missing:
            print(f"{name}: {missing}")


if __name__ == "__main__":
    main()
