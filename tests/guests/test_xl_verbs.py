"""xl's verbs on domains of the daemon: what they change, what they print, how they end."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.guests import test_daemon
from tests.guests.test_daemon import create, listed, xenia

pytestmark = pytest.mark.guest
home = test_daemon.home

NR_CPUS = len(os.sched_getaffinity(0))
ALL = "all" if NR_CPUS > 1 else "0"


def test_domains_share_the_processors_as_they_are_told(home: Path) -> None:
    create("web", "vcpus=2", "cpu_weight=512", "cap=50", "cpus='0'")
    create("db")
    pool, *rows = xenia("sched-credit2").stdout.splitlines()
    assert pool == "Cpupool Pool-0: ratelimit=1000us"
    assert rows == [
        "Name                                ID Weight  Cap",
        "web                                  1    512   50",
        "db                                   2    256    0",
    ]
    xenia("sched-credit2", "-d", "db", "-w", "1024", "-c", "25")
    assert xenia("sched-credit2", "-d", "db").stdout.splitlines() == [rows[0], f"{'db':<33}    2   1024   25"]
    assert json.loads(xenia("sched-credit2", "-d", "2", "--json").stdout) == [
        {"name": "db", "number": 2, "weight": 1024, "cap": 25}
    ]
    assert xenia("sched-credit2", "-s").stdout == pool + "\n"

    def affinity(name: str) -> list[str]:
        return [line.split("  ")[-1] for line in xenia("vcpu-list", name).stdout.splitlines()[1:]]

    assert affinity("web") == ["0 / all"] * 2
    xenia("vcpu-pin", "web", "1", "all", "0")
    assert affinity("web") == ["0 / all", "all / 0"]
    xenia("vcpu-pin", "web", "all", "-", "all")
    assert affinity("web") == ["0 / all", "all / all"]
    assert xenia("cpupool-list").stdout.splitlines() == [
        "Name               CPUs   Sched     Active   Domain count",
        f"Pool-0             {NR_CPUS:3}   credit2       y          2",
    ]
    assert "xen_scheduler          : credit2" in xenia("info").stdout
    for words, why in (
        (("vcpu-pin", "web", "x", "0"), "Invalid argument x as VCPU."),
        (("vcpu-pin", "-f", "web", "all", "0"), "--force and 'all' as VCPU not allowed."),
        (("vcpu-pin", "web", "2", "0"), "guest 'web' (1): the domain has vcpus 0 to 1, and no vcpu 2"),
        (("vcpu-pin", "web", "0", "0;1"), "guest 'web' (1): Invalid cpu range: 0;1"),
        (("sched-credit2", "-w", "3"), "Must specify a domain."),
        (("sched-credit2", "-d", "web", "-p", "Pool-0"), "Specifying a cpupool is not allowed with other options."),
        (("sched-credit2", "-p", "Pool-1"), "unknown cpupool 'Pool-1'"),
        (("sched-credit2", "-d", "web", "-w", "0"), "guest 'web' (1): a weight is a number from 1 to 65535, not 0"),
    ):
        assert xenia(*words, status=1).stderr == f"xenia: {why}\n"
    refused = xenia("create", "name=far", "kernel=demo", "memory=16", "cpus='9999'", status=1)
    assert refused.stderr.startswith("xenia: '9999' names no processor that is there")
    assert sorted(listed()) == ["db", "web"]
