"""A core of a stock kernel's, as programs that nobody here wrote read it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from struct import Struct
from typing import Any

import pytest

from tests.guests.cores import ElfCore, XenCore
from tests.guests.shell import Shell
from tests.peers.isf import isf
from xenia import ConfigError, Domain, Machine
from xenia.domain.build.elf import ElfFile
from xenia.testing.guests import Debian
from xenia.toolstack.debug.memory_server import MemoryServer
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.symbols.btf import read_btf

pytestmark = [pytest.mark.guest, pytest.mark.peer]

ROOT = Path(__file__).parents[2]
PROGRAMS = ("drgn==0.3.0", "volatility3==2.28.2")
LIMIT = 120
CONTEXT_CR3 = 512 + 8 + 200 + 4096 + 16 + 128 + 8 + 16 + 24
READ_LIVE = """
import json, socket, sys
from drgn.helpers.linux.mm import cmdline
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.printk import get_dmesg
from xenia.toolstack.debug.remote_memory import RemoteMemory
from xenia.toolstack.symbols.drgn_program import kernel_program
program = kernel_program(RemoteMemory(lambda: socket.socket(fileno=int(sys.argv[1]))), is_live=True)
tasks = list(for_each_task(program))
print(json.dumps({
    "tasks": [[task.pid.value_(), task.comm.string_().decode()] for task in tasks],
    "commands": [b" ".join(cmdline(task) or []).decode() for task in tasks if task.mm],
    "log": get_dmesg(program).decode(errors="replace")[-2000:],
    "stacks": [str(program.stack_trace(task)) for task in tasks if task.comm.string_() == b"sleep"],
    "modules": {name: program.symbol(name).address for name in sys.argv[2:]},
    "around": [program.symbol(program.symbol(name).address + 4).name for name in sys.argv[2:]],
}))
"""
SAY_TASKS = "for p in /proc/[0-9]*; do read -r c < $p/comm && echo ${p#/proc/} $c; done"  # starts no process


def programs() -> Path:
    """A folder with both, from Python's package index by its client, kept in the cache."""
    cache = Cache()
    target = cache.path("peers", "-".join(PROGRAMS).replace("=", ""))
    if not target.exists():
        with cache.locked("core-readers"), cache.new_directory(target) as folder:
            install = [
                sys.executable,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--timeout",
                "15",
                "--retries",
                "1",
                "--target",
            ]
            done = subprocess.run(
                [*install, str(folder), *PROGRAMS], capture_output=True, text=True, timeout=LIMIT, check=False
            )
            if done.returncode:
                raise ConfigError(f"cannot be had: {', '.join(PROGRAMS)} ({done.stderr.strip().splitlines()[-1]})")
    return target


@pytest.fixture(scope="module")
def readers() -> dict[str, str]:
    """The environment in which they are found."""
    try:
        return {**os.environ, "PYTHONPATH": f"{programs()}:{ROOT}"}
    except (ConfigError, OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(str(error))


def said_by(readers: dict[str, str], *words: str, files: Sequence[int] = ()) -> str:
    done = subprocess.run(
        [sys.executable, *words], env=readers, capture_output=True, text=True, timeout=LIMIT, check=False,
        pass_fds=files,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def said_of(domain: Domain, readers: dict[str, str], *names: str) -> Any:
    """What drgn, in a process of its own, finds in the memory of a guest that runs, and where it has these names."""
    ours, theirs = socket.socketpair()
    MemoryServer(ours, lambda: domain).start()
    with theirs:
        return json.loads(said_by(readers, "-c", READ_LIVE, str(theirs.fileno()), *names, files=[theirs.fileno()]))


def user_tasks(tasks: dict[int, str]) -> dict[int, str]:
    """Without the kernel's workers, which come and go; a task has 15 letters of a name, of which /proc knows more."""
    return {pid: name[:15] for pid, name in tasks.items() if not name.startswith("kworker")}


def test_drgn_and_volatility_list_the_tasks_that_the_guest_does(readers: dict[str, str], tmp_path: Path) -> None:
    xen, elf, kernel = tmp_path / "xen", tmp_path / "elf", tmp_path / "kernel"
    with Machine(Machine.memory_for(128 << 20)) as machine:
        guest = Shell(machine, "dumped", ("loop",))
        guest.domain.start()
        guest.do("echo 0 > /proc/sys/kernel/kptr_restrict")
        guest.do("sleep 4321 & sleep 8765 & while [ $(pidof sleep | wc -w) != 2 ]; do :; done")
        lines = guest.do(SAY_TASKS).splitlines()
        banner = guest.do("cat /proc/version").encode()
        of_loop = [line.split()[:3] for line in guest.do("grep '[\\[]loop[]]' /proc/kallsyms").splitlines()]
        functions = {name: int(address, 16) for address, kind, name in of_loop if kind in "tT"}
        live = said_of(guest.domain, readers, *functions)
        guest.domain.pause()
        guest.domain.dump_core(xen)
        guest.domain.dump_core(elf, form="elf")
        guest.domain.unpause()
        assert guest.do("echo on it goes") == "on it goes\n"
    there = user_tasks({int(pid): name for pid, _, name in (line.partition(" ") for line in lines)})
    assert "kthreadd" in there.values() and list(there.values()).count("sleep") == 2
    assert user_tasks(dict(live["tasks"])) == there
    assert {"sleep 4321", "sleep 8765"} <= set(live["commands"]) and "Run /init as init process" in live["log"]
    assert "loop_control_ioctl" in functions and live["modules"] == functions
    assert "loop_control_ioctl" in live["around"]
    for stack in live["stacks"]:
        names = re.findall(r"^#\d+ +(\w+)", stack, re.M)
        assert names[0] == "__schedule" and {"do_nanosleep", "do_syscall_64"} <= set(names), stack
        assert names[-2:] == ["entry_SYSCALL_64_after_hwframe", "0x" + names[-1][2:]], (
            "down to where user mode was left"
        )
    assert len(live["stacks"]) == 2
    kernel.write_bytes(Debian().image())

    found = json.loads(said_by(readers, "-m", "tests.peers.read_with_drgn", str(elf), str(kernel)))
    assert user_tasks(dict(found["tasks"])) == there
    assert {"sleep 4321", "sleep 8765"} <= set(found["commands"]), "read from the memory of processes"
    assert "Run /init as init process" in found["log"]

    with_numbers, by_machine = ElfCore(elf), XenCore(xen)
    (cr3,) = Struct("<Q").unpack_from(by_machine.section(".xen_prstatus"), CONTEXT_CR3)
    pfn_of = {mfn: pfn for pfn, mfn in by_machine.p2m}
    at = found["symbols"]["linux_banner"]
    assert by_machine.read(cr3 >> 12, at, len(banner)) == banner
    assert with_numbers.read(pfn_of[cr3 >> 12], at, len(banner)) == banner

    symbols = tmp_path / "symbols" / "linux"
    symbols.mkdir(parents=True)
    sections = ElfFile(kernel.read_bytes(), "kernel").sections()
    types = read_btf(bytes(next(section.data for section in sections if section.name == ".BTF")))
    (symbols / "kernel.json").write_text(json.dumps(isf(types, found["symbols"], banner + b"\0")))
    said = said_by(
        {**readers, "XDG_CACHE_HOME": str(tmp_path)}, str(programs() / "bin" / "vol"), "-q", "--offline", "-r", "json",
        "-s", str(symbols.parent), "-f", str(elf), "linux.pslist",
    )  # fmt: skip
    assert user_tasks({row["PID"]: row["COMM"] for row in json.loads(said)}) == there
