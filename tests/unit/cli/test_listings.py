"""What xl's verbs print: to the space, so that scripts which cut columns find theirs."""

from __future__ import annotations

from typing import Any

from xenia.cli.listings import list_lines, numa_lines, state_letters, uptime_lines, vcpu_lines
from xenia.cli.top import screen_lines
from xenia.toolstack.service.usage import Usage


def row(**changes: Any) -> dict[str, Any]:
    return {
        "name": "web", "number": 3, "domid": 3, "uuid": "12345678-1234-1234-1234-123456789abc", "memory": 512 << 20,
        "vcpus": 2, "running": False, "blocked": True, "paused": False, "shutdown": None, "dying": False,
        "cpu_time": 12.34, "uptime": 59.9,
        "vcpu_list": [
            {"number": 0, "online": True, "running": True, "blocked": False, "cpu": 1, "time": 10.0, "hard": "all",
             "soft": "all"},
            {"number": 1, "online": False, "running": False, "blocked": False, "cpu": None, "time": 2.3, "hard": "0,1",
             "soft": "all"},
        ],
        "pool": None, "disks": {"nr": 1, "reads": 7, "writes": 8, "bytes_read": 4096, "bytes_written": 512},
        "cards": {"nr": 1, "sent_bytes": 2048, "received_bytes": 1024},
        **changes,
    }  # fmt: skip


def test_list_has_xls_columns() -> None:
    assert list(list_lines([row(), row(name="x" * 41, number=10, running=True, blocked=False)])) == [
        "Name                                        ID   Mem VCPUs\tState\tTime(s)",
        "web                                          3   512     2     -b----      12.3",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx    10   512     2     r-----      12.3",
    ]


def test_list_v_adds_the_uuid_and_the_reason() -> None:
    head, first, second = list_lines([row(), row(shutdown=3, blocked=False)], verbose=True)
    assert head.endswith("Time(s)   UUID                            Reason-Code\tSecurity Label")
    assert first.endswith("12.3 12345678-1234-1234-1234-123456789abc        -                -")
    assert second.endswith("---sc-      12.3 12345678-1234-1234-1234-123456789abc        3                -")


def test_list_has_a_column_for_each_letter() -> None:
    rows = [row(pool="Pool-0"), row(name="alone", number=812, pool=None)]
    head, web, alone = list_lines(rows, context=True, cpupool=True, numa=True)
    assert head.endswith("\tTime(s)   Security Label         Cpupool NODE Affinity")
    assert web.endswith("  12.3                -          Pool-0 all")
    assert alone.endswith("  12.3                -               - all")
    head, web = list_lines(rows[:1], claimed=True)
    assert (head[-9:], web[-12:]) == ("  Claimed", "  12.3     0")


def test_info_n_has_xls_tables() -> None:
    assert "\n".join(numa_lines(2 << 30, 1 << 30, 2)).splitlines() == [
        "cpu_topology           :",
        "cpu:    core    socket     node",
        "  0:       0        0        0",
        "  1:       1        0        0",
        "device topology        :",
        "device           node",
        "No device topology data available",
        "numa_info              :",
        "node:    memsize    memfree    distances",
        "   0:      2048       1024      10",
    ]


def test_state_letters_are_xls() -> None:
    def letters(**changes: Any) -> str:
        return state_letters(row(**{"blocked": False, **changes}))

    assert letters() == "------"
    assert letters(running=True) == "r-----"
    assert letters(blocked=True, paused=True) == "-bp---"
    assert [letters(shutdown=reason)[3:5] for reason in range(7)] == ["s-", "sr", "ss", "sc", "sw", "sS", "s?"]
    assert letters(dying=True) == "-----d"


def test_vcpu_list_has_xls_columns() -> None:
    assert list(vcpu_lines([row()])) == [
        "Name                                ID  VCPU   CPU State   Time(s) Affinity (Hard / Soft)",
        "web                                  3     0    1   r--      10.0  all / all",
        "web                                  3     1    -   --p       2.3  0,1 / all",
    ]


def test_uptime_has_xls_columns() -> None:
    rows = [row(), row(name="db", number=4, uptime=86400 + 3661.0), row(name="old", number=5, uptime=3 * 86400.0)]
    assert list(uptime_lines(rows, "12:00:00")) == [
        "Name                                ID Uptime",
        "web                                  3  0:00:59",
        "db                                   4 1 day,  1:01:01",
        "old                                  5 3 days,  0:00:00",
    ]
    assert list(uptime_lines(rows[:2], "12:00:00", short=True)) == [
        " 12:00:00 up  0:00, web (3)",
        " 12:00:00 up 1 day,  1:01, db (4)",
    ]


def test_top_has_xentops_lines() -> None:
    rows = [row(), row(name="a-very-long-name", number=4, shutdown=3, blocked=False)]
    lines = screen_lines(rows, {3: 50.0}, 1 << 30, 1 << 29, "12:00:00")
    assert lines[0] == "xentop - 12:00:00   Xenia"
    assert lines[1] == "2 domains: 0 running, 1 blocked, 0 paused, 1 crashed, 0 dying, 1 shutdown"
    assert lines[2].startswith("Mem: 1048576k total, 524288k used, 524288k free    CPUs: ")
    assert lines[3].split()[:3] == ["NAME", "STATE", "CPU(sec)"]
    assert " ".join(lines[4].split()) == "web --b--- 12 50.0 524288 50.0 524288 50.0 2 1 2 1 1 0 7 8 8 1 0"
    assert lines[5].split()[:2] == ["a-very-lon", "-s-c--"]


def test_what_is_used_is_told_from_one_look_to_the_next() -> None:
    usage = Usage()
    assert usage.look([row(cpu_time=10.0)], now=100.0) == {3: 0.0}
    assert usage.look([row(cpu_time=11.0), row(number=4, cpu_time=7.0)], now=102.0) == {3: 50.0, 4: 0.0}
    assert usage.look([row(number=4, cpu_time=6.0)], now=103.0) == {4: 0.0}  # a number that is given out again
