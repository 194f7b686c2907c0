"""One of Debian's kernels on two vcpus, under everything at once that one vcpu alone never meets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.guests.stock import Stock, program
from tests.guests.test_stock_kernels import assert_clean
from tests.long import LONG
from xenia.cpu.engines.native import host
from xenia.shutdown import Reason
from xenia.toolstack.provision.packages import PackageClient

pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(not PackageClient.available(), reason="no apt-get on this host to fetch Debian's kernels with"),
]

FOLDER = Path(__file__).with_name("parallel")
CHECKS = (
    "each_vcpu_has_a_number_of_its_own",
    "futexes",
    "mappings",
    "a_store_after_the_page_was_taken_is_seen_by_nobody",
    "code_of_another_thread_is_the_new_one",
    "forks",
    "execs",
    "signals",
    "breakpoints_of_another_process",
    "kexec_is_refused",
)
# While the threads work modules come and go, and so does the second vcpu.
ALONE = """test-crowd > /crowd.1; echo "alone: $(grep -c ': ok$' /crowd.1)"
"""
SCRIPT = """
(while [ ! -e /stop ]; do modprobe -r xen_netfront && modprobe xen_netfront && echo module >> /modules; done) &
(while [ ! -e /stop ]; do
    echo 0 > /sys/devices/system/cpu/cpu1/online; echo 1 > /sys/devices/system/cpu/cpu1/online; echo cpu >> /cpus
    usleep 20000
done) &
test-crowd
touch /stop; wait
echo "modules $(wc -l < /modules), cpus $(wc -l < /cpus)"
dmesg | grep -E "BUG|WARNING|Oops|Bad page|general protection| stall|Call Trace" | sed 's/^/kernel: FAILED /'
echo finished
"""


@pytest.mark.parametrize("engine", ["emulated", "eager"])
def test_threads_modules_and_vcpus_that_come_and_go_leave_a_stock_kernel_whole(engine: str) -> None:
    native = engine == "eager"
    if native and (lack := host.lack()) is not None:
        pytest.skip(lack)
    files = {"/bin/test-crowd": program("crowd", FOLDER)}
    alone = LONG or not native  # the check of each entry takes minutes
    guest = Stock(ALONE * alone + SCRIPT, files=files, vcpus=2, scatter=4, engine=engine, check=native).start()
    report = guest.finish(400)
    assert report.failures() == []
    for name in CHECKS:
        assert f"crowd {name}: ok" in report.console, report.console
    counts = re.search(r"^modules ([0-9]+), cpus ([0-9]+)$", report.console, re.MULTILINE)
    assert counts is not None and int(counts[1]) >= 1 and int(counts[2]) >= 3, report.console
    assert not alone or f"alone: {len(CHECKS)}" in report.console
    assert report.shutdown is not None and report.shutdown.reason is Reason.POWEROFF
    assert_clean(report)
    assert not native or (report.statistics["native_syscalls"] > 10000 and report.statistics["native_lost"] == 0)
