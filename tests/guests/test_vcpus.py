"""Debian's kernels with several vcpus that run at once: they share work, interrupt each other, come and go."""

from __future__ import annotations

import re
import time

import pytest

from tests.guests.stock import Report, Stock
from tests.guests.test_stock_kernels import assert_clean
from tests.long import LONG
from xenia.cpu.engines.native import host
from xenia.errors import ConfigError
from xenia.shutdown import Reason
from xenia.toolstack.provision.packages import PackageClient

pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(not PackageClient.available(), reason="no apt-get on this host to fetch Debian's kernels with"),
]

# Shells count at once, by fork and pipes; then cpus go and come, while others work.
SCRIPT = """
echo cpus $(nproc)
count() { n=0; for i in $(seq 30); do n=$(($(echo $n | cat) + i)); done; echo $n; }
for i in 1 2 3 4; do count > /count.$i & done; wait
echo counts $(cat /count.*)
ipis() { grep -E 'resched|callfunc' /proc/interrupts | tr -s ' ' '\\n' | grep -E '^[0-9]+$' | paste -s -d+ | sh_sum; }
sh_sum() { read sum; echo $((sum)); }
echo ipis $(ipis)
last=$(($(nproc) - 1))
(while [ ! -e /stop ]; do count > /count.0; done) &
for turn in 1 2 3; do
    echo 0 > /sys/devices/system/cpu/cpu$last/online && echo offline $(nproc)
    echo 1 > /sys/devices/system/cpu/cpu$last/online && echo online $(nproc)
done
touch /stop; wait
echo counts $(cat /count.0)
dmesg | grep -E "BUG|WARNING|Oops|Bad page|general protection| stall" | sed 's/^/kernel: FAILED /'
echo finished
"""
COUNT = sum(range(31))


def assert_right(report: Report, vcpus: int) -> None:
    lines = report.console.splitlines()
    assert f"cpus {vcpus}" in lines, report.console
    assert f"counts {' '.join([str(COUNT)] * 4)}" in lines
    assert f"counts {COUNT}" in lines
    ipis = re.search(r"^ipis ([0-9]+)$", report.console, re.MULTILINE)
    assert ipis is not None and int(ipis[1]) > 10
    assert lines.count(f"offline {vcpus - 1}") == lines.count(f"online {vcpus}") == 3
    assert "FAILED" not in report.console
    assert "finished" in lines
    assert report.shutdown is not None and report.shutdown.reason is Reason.POWEROFF
    assert_clean(report)


def skip_without(engine: str) -> None:
    if engine != "emulated" and (lack := host.lack()) is not None:
        pytest.skip(lack)


@pytest.mark.parametrize(
    ("flavour", "vcpus", "check", "engine"),
    [
        ("amd64", 2, True, "emulated"),
        ("cloud-amd64", 16, False, "emulated"),
        ("cloud-amd64", 4, LONG, "eager"),
    ],
)
def test_a_stock_kernel_works_on_all_its_vcpus(flavour: str, vcpus: int, check: bool, engine: str) -> None:
    skip_without(engine)
    report = Stock(SCRIPT, flavour=flavour, vcpus=vcpus, check=check, scatter=3, engine=engine).start().finish(300)
    assert_right(report, vcpus)


@pytest.mark.parametrize("engine", ["emulated", "eager"])
def test_a_guest_is_given_vcpus_and_has_some_taken_away_while_it_runs(engine: str) -> None:
    skip_without(engine)
    script = """
        wait_for() { for i in $(seq 200); do [ $(nproc) -eq $1 ] && echo now $1 && return; sleep 0.1; done; }
        wait_for 1; echo ready; wait_for 3; wait_for 2
    """
    guest = Stock(script, flavour="cloud-amd64", vcpus=1, max_vcpus=3, engine=engine).start()
    domain = guest.domain
    assert domain.max_vcpus == 3
    with pytest.raises(ConfigError, match="can have 1 to 3 vcpus, not 4"):
        domain.set_vcpus(4)
    with pytest.raises(ConfigError, match="cannot be frozen: it has 3 vcpus"):
        domain.freeze()
    while "ready" not in guest.console and domain.wait(0.05) is None:
        pass
    domain.set_vcpus(3)
    assert guest.store_keys(f"/local/domain/{domain.domid}/cpu/2") == {"availability": "online"}
    while "now 3" not in guest.console and domain.wait(0.05) is None:
        pass
    domain.set_vcpus(2)
    report = guest.finish()
    assert re.findall("now ([0-9])", report.console) == ["1", "3", "2"]
    assert_clean(report)


def test_time_jumps_when_all_vcpus_are_idle() -> None:
    script = "for i in 1 2 3; do sleep 600 & done; wait; echo cpus $(nproc)"
    started = time.monotonic()
    report = Stock(script, flavour="cloud-amd64", vcpus=3, clock="warped").start().finish()
    assert "cpus 3" in report.console
    assert report.virtual_seconds > 600
    assert time.monotonic() - started < 100
    assert report.shutdown is not None and report.shutdown.reason is Reason.POWEROFF
    assert_clean(report)
