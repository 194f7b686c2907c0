"""The hypervisor's log is bounded, whatever guests write."""

from __future__ import annotations

import json

from xenia.shutdown import Reason, Shutdown
from xenia.toolstack.machine.hypervisor_log import LIMIT, HypervisorLog, newest


def test_the_newest_lines_are_kept() -> None:
    log = HypervisorLog()
    for number in range(100_000):
        log.said(1, b"line %d\r\n" % number)
    assert log.lines[-1] == "(d1) line 99999"
    assert LIMIT - 100 < sum(map(len, log.lines)) <= LIMIT


def test_a_line_without_an_end_is_cut() -> None:
    log = HypervisorLog()
    log.said(1, b"x" * 3000)
    assert [len(line) for line in log.lines] == [1029, 1029, 957]
    log.said(1, b"x" * (1 << 20))
    assert sum(map(len, log.lines)) <= LIMIT + 1029


def test_each_domain_has_its_lines_and_what_it_began_ends_with_it() -> None:
    log = HypervisorLog()
    log.said(1, b"one ")
    log.said(2, b"two\nbegun")
    log.said(1, b"line\n\xff")
    assert log.lines == ["(d2) two", "(d1) one line", "(d1) \ufffd", "(d2) begun"]
    log.ended(2, Shutdown(Reason.CRASH, code=252), ["rip 0"])
    assert log.lines[2:] == ["(d2) begun", "(XEN) domain 2 ended with crash (252)", "(XEN) rip 0", "(d1) \ufffd"]


def test_an_answer_has_the_newest_lines_that_it_has_room_for() -> None:
    log = HypervisorLog()
    for number in range(2000):
        log.said(1, b"\x01" * 900 + b"%d\n" % number)
    found = newest(log.lines)
    assert found == log.lines[-len(found) :]
    assert LIMIT - 6000 < len(json.dumps(found)) <= LIMIT
    assert newest(["one", "two"], 14) == ["one", "two"]
    assert newest(["one", "two"], 13) == ["two"]
    assert newest(["one", "two"], 6) == []
