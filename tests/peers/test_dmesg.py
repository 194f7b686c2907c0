"""What stock Linux complains of under Xenia, it complains of under real Xen too: the two kernel logs, compared."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench import contenders, peers
from bench.workload import Workload, workload

pytestmark = pytest.mark.peer

COMPLAINT = re.compile(
    r"BUG|WARNING|Oops|unchecked MSR|W\+X|bad page|Bad page|Call Trace|general protection|segfault|invalid opcode"
    r"|stack guard|soft lockup|rcu.*stall|clocksource.*unstable|nobody cared"
)
INIT = """#!/bin/busybox sh
/bin/busybox echo bench done
exec /bin/busybox poweroff -f
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    return workload(tmp_path_factory.mktemp("dmesg"), kernel=None, busybox=None, init=INIT)


def complaints(log: str) -> set[str]:
    """The complaining lines of a kernel log, without their time stamps.  A passed check is no complaint."""
    lines = (re.sub(r"^\[ *[0-9.]+\] ", "", line) for line in log.splitlines())
    return {line for line in lines if COMPLAINT.search(line) and "no W+X pages found" not in line}


def test_linux_complains_of_nothing_that_real_xen_does_not_show(work: Workload) -> None:
    from xenia.domain.build.bzimage import load_image

    kernel = bytes(load_image(Path(work.kernel)))
    try:
        answer = peers.real_xen({
            "linux": peers.Program(kernel, work.initrd.read_bytes(), "console=hvc0", 256, 120),
        })["linux"]  # fmt: skip
    except peers.Missing as missing:
        pytest.skip(str(missing))
    ours = contenders.xenia_log(work)
    assert "bench done" in answer.lines and "bench done" in ours.splitlines()
    assert complaints(ours) <= complaints("\n".join(answer.lines))
