"""Debian's own kernels, unmodified: from their first instruction to power off, with programs that try what is hard."""

from __future__ import annotations

import time

import pytest

from tests.guests.stock import NAMES, Report, Stock
from tests.long import amount
from xenia.errors import ConfigError
from xenia.shutdown import Reason
from xenia.toolstack.provision.packages import PackageClient

pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(not PackageClient.available(), reason="no apt-get on this host to fetch Debian's kernels with"),
]

SCRIPT = """
uname -r
dmesg | grep xen:events:
for program in /bin/test-*; do $program; done

rmmod xen_netfront && ! grep -q xen_netfront /proc/modules && echo "modules unloaded: ok"
modprobe xen_netfront && grep -q xen_netfront /proc/modules && echo "modules loaded: ok"

cd /sys/devices/system/xen_memory/xen_memory0
full=$(cat target_kb)
balloon() {
    echo $1 > target_kb
    for i in $(seq 100); do [ $(cat info/current_kb) -eq $1 ] && echo "balloon $2: ok" && return; sleep 0.1; done
    echo "balloon $2: FAILED at $(cat info/current_kb) of $1 kB"
}
balloon $((full - 65536)) deflated
balloon $full inflated
dmesg | grep -E "BUG|WARNING|Oops|Bad page|general protection" | sed 's/^/kernel: FAILED /'
echo finished
"""


def assert_clean(report: Report) -> None:
    """A guest left its frames as they should be, and its end gave back all of them."""
    assert report.audit == []
    assert report.still_held == 0


@pytest.fixture(scope="module")
def everything() -> Report:
    """All programs in one boot, the processor's translations compared with the page tables at every entry."""
    return Stock(SCRIPT, scatter=5, check=True, programs=NAMES, append="quiet vsyscall=emulate").start().finish(280)


@pytest.mark.parametrize("name", [*NAMES, "modules", "balloon"])
def test_programs_find_what_linux_promises(everything: Report, name: str) -> None:
    lines = [line for line in everything.console.splitlines() if line.startswith(f"{name} ")]
    assert lines
    assert [line for line in lines if not line.endswith(": ok")] == [], everything.failures()


def test_a_guest_that_did_all_that_powers_off_and_leaves_nothing(everything: Report) -> None:
    assert "\nfinished\n" in everything.console
    assert "FAILED" not in everything.console
    assert everything.shutdown is not None and everything.shutdown.reason is Reason.POWEROFF
    assert_clean(everything)


def test_linux_takes_its_events_from_fifo_queues(everything: Report) -> None:
    assert "xen:events: Using FIFO-based ABI" in everything.console


def test_a_kernel_told_to_keeps_to_two_level_events() -> None:
    script = "dmesg | grep xen:events:; modprobe xen_netfront && sleep 1 && echo woken"
    report = Stock(script, flavour="cloud-amd64", clock="warped", append="quiet xen.fifo_events=0").start().finish()
    assert "xen:events: Using 2-level ABI" in report.console
    assert "woken" in report.console
    assert report.shutdown is not None and report.shutdown.reason is Reason.POWEROFF
    assert_clean(report)


def test_the_cloud_kernel_lives_in_64_mb_and_sleeps_a_minute_in_no_time() -> None:
    begun = time.monotonic()
    script = (
        "uname -r; before=$(cut -d. -f1 /proc/uptime); sleep 60; echo slept $(($(cut -d. -f1 /proc/uptime) - before))"
    )
    report = Stock(script, flavour="cloud-amd64", memory=64, clock="warped", check=True).start().finish()
    assert "-cloud-amd64\n" in report.console
    assert "slept 60" in report.console or "slept 61" in report.console
    assert report.virtual_seconds > 60 > time.monotonic() - begun
    assert report.shutdown is not None and report.shutdown.reason is Reason.POWEROFF
    assert_clean(report)


def test_the_larger_kernel_lives_in_76_mb_and_reboots() -> None:
    report = Stock("free -m; reboot -f", memory=76).start().finish()
    assert report.shutdown is not None and report.shutdown.reason is Reason.REBOOT
    assert_clean(report)


def test_less_memory_than_the_kernel_can_start_in_is_refused_in_one_line() -> None:
    with pytest.raises(
        ConfigError, match=r"^the kernel and initrd need 76 MB of memory to start; the domain has 64 MB$"
    ):
        Stock("true", memory=64)


def test_gigabytes_of_scattered_frames_are_the_guests() -> None:
    memory = amount(8192, 2048)
    report = Stock("free -m", flavour="cloud-amd64", memory=memory, scatter=3, clock="warped").start().finish()
    total = int(report.console.split("Mem:")[1].split()[0])
    assert memory - 300 < total <= memory
    assert report.shutdown is not None and report.shutdown.reason is Reason.POWEROFF
    assert_clean(report)


def test_a_guest_that_spins_is_stopped_where_it_stands() -> None:
    guest = Stock("echo spinning; while :; do :; done", flavour="cloud-amd64").start()
    while "spinning" not in guest.console:
        assert guest.domain.wait(0.05) is None
    report = guest.finish(timeout=0.2)
    assert report.shutdown is None
    assert_clean(report)
