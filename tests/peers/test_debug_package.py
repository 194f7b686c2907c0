"""A stock kernel under gdb with Linux's own scripts, and under drgn, with the debug information that Debian has of it.

XENIA_DEBUG_KERNEL names the folder that package linux-image-...-dbg has put it in, /usr/lib/debug, or that of an
unpacked one: it is of some gigabytes, and no test fetches it.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guests.shell import Shell
from tests.guests.test_gdb import Gdb, callers_in_loop, served
from tests.guests.test_kernel_module import headers
from tests.peers.test_core_readers import SAY_TASKS, readers, said_by, user_tasks
from xenia import Machine
from xenia.errors import ConfigError
from xenia.testing.guests import Debian
from xenia.toolstack.debug.memory_server import MemoryServer
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.provision.packages import PackageClient

FOLDER = Path(os.environ.get("XENIA_DEBUG_KERNEL", "/usr/lib/debug"))
STACKS = """
import socket, sys
from pathlib import Path
from drgn.helpers.linux.pid import for_each_task
from xenia.toolstack.debug.remote_memory import RemoteMemory
from xenia.toolstack.symbols.drgn_program import kernel_program
memory = RemoteMemory(lambda: socket.socket(fileno=int(sys.argv[1])))
program = kernel_program(memory, is_live=True, debug_info=Path(sys.argv[2]))
print(program.stack_trace(next(task for task in for_each_task(program) if task.comm.string_() == b"sleep")))
"""

__all__ = ["readers"]
pytestmark = [pytest.mark.guest, pytest.mark.peer, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def vmlinux() -> Path:
    path = FOLDER / f"boot/vmlinux-{Debian().kernel().release}"
    if not path.exists():
        pytest.skip(f"no {path}, of Debian's package linux-image-...-dbg (XENIA_DEBUG_KERNEL names another folder)")
    return path


@pytest.fixture(scope="module")
def guest(vmlinux: Path) -> Iterator[Shell]:
    with Machine(Machine.memory_for(128 << 20)) as machine:
        guest = Shell(machine, "debugged", ("loop",), vcpus=2)
        guest.domain.start()
        guest.do("sleep 4321 & while ! pidof sleep; do :; done")
        yield guest


@pytest.fixture
def scripted(tmp_path: Path, vmlinux: Path) -> Path:
    """The kernel's debug information beside Linux's scripts, as docs/debugging.md says."""
    release = Debian().kernel().release
    source = f"linux-source-{release.split('-')[0].rsplit('.', 1)[0]}"
    tape = Path(f"/usr/src/{source}.tar.xz")
    try:
        made_with = headers(release)
        if not tape.exists():
            client = PackageClient(Cache())
            subprocess.run(["dpkg-deb", "-x", client.download(client.find([source]), tmp_path), tmp_path], check=True)
            tape = tmp_path / tape.relative_to("/")
    except ConfigError as missing:
        pytest.skip(str(missing))
    unpack: list[str | Path] = [
        "tar",
        "-x",
        "-f",
        tape,
        "-C",
        tmp_path,
        "--strip-components=1",
        "--wildcards",
        "*/scripts/gdb",
    ]
    subprocess.run(unpack, check=True)
    subprocess.run(["make", "-s", "-C", made_with, f"M={tmp_path}/scripts/gdb/linux", "modules"], check=True)
    shutil.copy(tmp_path / "scripts/gdb/vmlinux-gdb.py", tmp_path)
    shutil.copy(vmlinux, tmp_path / "vmlinux")
    return tmp_path / "vmlinux"


def test_linuxs_own_scripts_list_tasks_and_know_the_lines_of_modules(
    guest: Shell, scripted: Path, tmp_path: Path
) -> None:
    tasks = user_tasks(
        {int(pid): name for pid, _, name in (line.partition(" ") for line in guest.do(SAY_TASKS).splitlines())}
    )
    trusted = f"add-auto-load-safe-path {scripted.parent}"
    with served(guest.domain, tmp_path / "gdb") as listener, Gdb(listener.place, scripted, before=[trusted]) as gdb:
        told = re.findall(r"^0x\w+ +(\d+) +(\S.*?) *$", gdb.do("lx-ps"), re.M)
        assert user_tasks({int(pid): name for pid, name in told if pid != "0"}) == tasks
        assert re.search(r"loading @0x\w+: \S+/loop.ko", gdb.do(f"lx-symbols {FOLDER}/lib/modules"))
        assert re.search(
            r"^#0 +loop_control_ioctl \(.*cmd=19586.*drivers/block/loop.c:\d+", callers_in_loop(gdb, guest), re.M
        )


def test_drgn_tells_the_stack_of_a_task_with_its_lines(guest: Shell, vmlinux: Path, readers: dict[str, str]) -> None:
    ours, theirs = socket.socketpair()
    MemoryServer(ours, lambda: guest.domain).start()
    with theirs:
        said = said_by(readers, "-c", STACKS, str(theirs.fileno()), str(vmlinux), files=[theirs.fileno()])
    assert re.search(r"^#\d+ +do_nanosleep \(kernel/time/hrtimer.c:\d+:\d+\)$", said, re.M), said
