"""Each wall, tried by code that is injected into `xenia run`: on a vcpu's thread, on others, on the main thread."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from xenia.guests import embedded
from xenia.jail.jail import walls_of_host

HERE = Path(__file__).parent
SOURCE = HERE.parents[2] / "src"
LANDLOCK = walls_of_host().landlock
# What nobody has in there, whatever the thread.
PROCESS_WIDE = {
    "truncate", "chmod", "symlink", "rename", "open by handle", "socket", "bind", "listen", "connect over TCP",
    "socketpair", "exec", "execveat", "clone a process", "clone3", "fork", "vfork", "ptrace", "read another's memory",
    "write another's memory", "map code that is writable", "map code", "map a file as code", "make memory code",
    "signal another", "signal another's thread", "signal through a descriptor", "signal through an owner",
    "type into the terminal", "raise a limit", "be dumpable", "unshare", "mount", "chroot", "bpf", "keyctl", "io_uring",
    "userfaultfd", "perf_event_open", "setuid", "mknod", "raw socket", "packet socket", "netlink socket",
    "socket of a protocol that is a module", "pair of datagram sockets",
}  # fmt: skip
BY_NAME = {"open for reading", "open for writing", "create", "unlink", "write its own memory by name"}

pytestmark = [
    pytest.mark.skipif(walls_of_host().filters is None, reason="this host filters no system calls"),
    pytest.mark.skipif(embedded() is None, reason="the built-in guest is not built: no C compiler for x86-64"),
]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler here")
    target = tmp_path_factory.mktemp("jail") / "attempts.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", str(target), str(HERE / "attempts.c")], check=True, timeout=60
    )
    return target


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


Breaking = Callable[..., tuple["subprocess.CompletedProcess[str]", dict[str, int]]]


@pytest.fixture
def broken_in(library: Path, port: int, tmp_path: Path) -> Breaking:
    """Runs xenia with injected code; how that ended, and what came of each attempt."""
    secret = tmp_path / "secret"
    secret.write_text("the operator's")
    runtime = tmp_path / "runtime"
    runtime.mkdir()

    def run(where: str, *arguments: str, only: str = "") -> tuple[subprocess.CompletedProcess[str], dict[str, int]]:
        report = tmp_path / "report"
        ended = subprocess.run(
            [sys.executable, str(HERE / "broken_in.py"), str(library), str(report), where, "run", "-q", *arguments],
            input="halt\r", capture_output=True, text=True, timeout=120, check=False,
            env={
                **os.environ, "PYTHONPATH": str(SOURCE), "SECRET": str(secret), "PORT": str(port), "TRY": only,
                "XDG_RUNTIME_DIR": str(runtime),
            },
        )  # fmt: skip
        assert secret.read_text() == "the operator's"
        found = report.read_text()
        return ended, json.loads(found) if found else {}

    return run


@pytest.mark.parametrize("where", ["vcpu", "store", "main"])
def test_code_that_broke_in_is_refused_everything(broken_in: Breaking, where: str) -> None:
    ended, found = broken_in(where, "--kernel", "demo")
    assert ended.returncode == 0, ended.stderr
    tried = PROCESS_WIDE | BY_NAME if LANDLOCK or where != "main" else PROCESS_WIDE
    assert {name for name in tried if found.get(name, 1) == 0} == set()
    assert found.keys() == PROCESS_WIDE | BY_NAME


@pytest.mark.parametrize("where", ["main", "network"])
def test_code_that_broke_into_a_networks_process_has_connections_and_nothing_else(
    library: Path, port: int, tmp_path: Path, where: str
) -> None:
    secret, report = tmp_path / "secret", tmp_path / "report"
    secret.write_text("the operator's")
    ended = subprocess.run(
        [sys.executable, str(HERE / "broken_network.py"), str(library), str(report), where],
        env={**os.environ, "PYTHONPATH": str(SOURCE), "SECRET": str(secret), "PORT": str(port)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    found = json.loads(report.read_text())
    assert found.pop("thread") == ("MainThread" if where == "main" else "network")
    assert found["connect over TCP"] == 0
    refused = PROCESS_WIDE | (BY_NAME if LANDLOCK or where != "main" else set())
    refused -= {"connect over TCP", "bind", "listen"} | ({"socketpair"} if where == "main" else set())
    assert {name for name in refused if found[name] == 0} == set()
    assert secret.read_text() == "the operator's"


def test_without_the_jail_the_same_code_has_what_the_operator_has(broken_in: Breaking) -> None:
    harmless = "open for reading,create,socket,connect over TCP,map code that is writable,signal another"
    ended, found = broken_in("vcpu", "--kernel", "demo", "--no-jail", only=harmless)
    assert ended.stderr == "xenia: NO JAIL: a guest that breaks out of its machine can do here whatever you can\n"
    assert found == dict.fromkeys(harmless.split(","), 0)


def test_a_violation_ends_the_process_with_one_clear_line(broken_in: Breaking) -> None:
    ended, found = broken_in("vcpu!", "--kernel", "demo", only="exec")
    assert ended.returncode == 118
    assert ended.stderr == (
        "xenia: the jail refuses the system call execve of a thread (d1v0): "
        "a guest broke out of its machine, or Xenia is at fault; all of it ends here\n"
    )
    assert found == {}


def test_a_host_without_walls_runs_guests_all_the_same() -> None:
    """Such a host is made by a filter that takes the calls away which make walls."""
    program = (
        "import os, sys\n"
        "from xenia.jail import kernel\n"
        "from xenia.jail.calls import PROCESSORS\n"
        "from xenia.jail.filter import ALLOW, ENOSYS, Filter\n"
        "kernel.prctl(38, 1)\n"
        "gone = Filter({}, {'seccomp': ENOSYS, 'landlock_create_ruleset': ENOSYS}, otherwise=ALLOW)\n"
        "kernel.add_filter(gone.program(PROCESSORS[os.uname().machine]))\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'xenia', *sys.argv[1:]])\n"
    )

    def on_bare_host(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", program, *arguments], input="halt\r", capture_output=True, text=True, timeout=60,
            env={**os.environ, "PYTHONPATH": str(SOURCE)}, check=False,
        )  # fmt: skip

    ended = on_bare_host("run", "-q", "--kernel", "demo")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "xenia: programs are emulated: the native engine cannot run here" in on_bare_host(
        "run", "--kernel", "demo"
    ).stderr.replace("\r", "")
    doctor = next(line for line in on_bare_host("doctor").stdout.splitlines() if " jail " in line)
    assert "no filters of system calls (seccomp), any file of yours can be opened (no Landlock)" in doctor


def test_a_jailed_process_gains_nothing_and_dumps_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "xenia", "run", "-q", "--kernel", "demo"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "XDG_RUNTIME_DIR": str(tmp_path)},
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    shown = b""
    while not shown.endswith(b"> "):
        shown += os.read(process.stdout.fileno(), 4096)
    status = Path(f"/proc/{process.pid}/status").read_text()
    limits = Path(f"/proc/{process.pid}/limits").read_text() if os.geteuid() == 0 else ""
    owner = os.stat(f"/proc/{process.pid}/environ").st_uid
    process.communicate(b"halt\r", timeout=60)
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"
    assert int(fields["CapEff"], 16) == 0
    assert owner == 0  # what is not dumpable is root's to look at
    for limit in ("Max core file size", "Max locked memory"):
        assert not limits or limits.partition(limit)[2].split()[:2] == ["0", "0"]


@pytest.mark.guest
def test_code_that_broke_into_a_disks_thread_is_refused_everything(broken_in: Breaking, tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    ended, found = broken_in(
        "worker", "--disk", f"{disk},cow", "--", "dd", "if=/dev/xvda", "of=/dev/null", "iflag=direct"
    )
    assert ended.returncode == 0, ended.stderr
    assert {name for name in PROCESS_WIDE | BY_NAME if found.get(name, 1) == 0} == set()
