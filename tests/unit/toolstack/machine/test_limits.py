"""What the host limits a process to is said in one line, before a guest runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from xenia.guests import embedded
from xenia.toolstack.config.machine import MIB
from xenia.toolstack.machine.limits import cgroup_limit, cgroup_room


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_a_cgroup_there_is_no_limit(tmp_path: Path) -> None:
    assert cgroup_limit(tmp_path) is None and cgroup_room(tmp_path) is None


def test_the_smallest_limit_of_the_cgroups_that_a_process_is_in_counts(tmp_path: Path) -> None:
    base = tmp_path / "sys/fs/cgroup"
    write(tmp_path / "proc/self/cgroup", "0::/a/b/c\n")
    write(base / "a/memory.max", f"{300 * MIB}\n")
    write(base / "a/memory.current", f"{290 * MIB}\n")
    write(base / "a/b/memory.max", f"{200 * MIB}\n")
    write(base / "a/b/c/memory.max", "max\n")
    assert cgroup_limit(tmp_path) == 200 * MIB
    assert cgroup_room(tmp_path) == 10 * MIB


def test_version_1_says_it_in_other_files(tmp_path: Path) -> None:
    base = tmp_path / "sys/fs/cgroup/memory"
    write(tmp_path / "proc/self/cgroup", "9:cpu,cpuacct:/x\n4:memory:/docker/d\n0::/\n")
    write(base / "memory.limit_in_bytes", "9223372036854771712\n")
    assert cgroup_limit(tmp_path) is None
    write(base / "docker/d/memory.limit_in_bytes", f"{100 * MIB}\n")
    write(base / "docker/d/memory.usage_in_bytes", f"{30 * MIB}\n")
    assert cgroup_limit(tmp_path) == 100 * MIB
    assert cgroup_room(tmp_path) == 70 * MIB


@pytest.mark.skipif(embedded() is None, reason="the built-in guest is not built: no C compiler for x86-64")
@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("-n 24", "24 open files are allowed, and "),
        ("-n 12", "12 open files are allowed, and "),
        ("-v 600000", "585 MiB of address space are allowed, and "),
        ("-v 300000", "292 MiB of address space are allowed, and "),
    ],
)
def test_a_limit_that_is_too_low_is_found_before_the_guest_runs(limit: str, said: str) -> None:
    run = subprocess.run(
        ["/bin/sh", "-c", f'ulimit {limit}; exec "$@"', "sh", sys.executable, "-m", "xenia", "run", "--kernel", "demo"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1].startswith(f"xenia: {said}")
    assert "Traceback" not in run.stderr


@pytest.mark.skipif(embedded() is None, reason="the built-in guest is not built: no C compiler for x86-64")
def test_a_soft_limit_is_raised_where_that_is_ours_to_do() -> None:
    run = subprocess.run(
        ["/bin/sh", "-c", 'ulimit -S -n 20; exec "$@"', "sh", sys.executable, "-m", "xenia", "run", "--kernel", "demo"],
        input="halt\r", capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
