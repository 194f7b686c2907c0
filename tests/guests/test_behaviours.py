"""Tiny guests that print what hypercalls and traps answer: Xenia answers what real Xen answers.

What real Xen said is recorded in answers/ (tests/peers asks it again); differences.toml says where Xenia differs, and
why.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from guests import build as guests
from tests.guests.record_answers import text
from tests.guests.tiny import ANSWERS, Running, behaviours
from xenia import Machine

pytestmark = pytest.mark.guest

DIFFERENCES = tomllib.loads(Path(__file__).with_name("differences.toml").read_text())["difference"]


def expected(name: str) -> list[str]:
    """Real Xen's answer with the known differences put in."""
    lines = (ANSWERS / f"{name}.txt").read_text().splitlines()
    for difference in DIFFERENCES:
        if difference["guest"] == name:
            assert difference["xen"] in lines, "a difference that real Xen does not show any more"
            lines = [difference["xenia"] if line == difference["xen"] else line for line in lines]
    return lines


@pytest.mark.parametrize("name", behaviours())
def test_a_guest_is_told_what_real_xen_tells_it(name: str) -> None:
    with Running(name) as guest:
        assert text(guest.answer(20)).splitlines() == expected(name)


def test_every_difference_says_why() -> None:
    assert all(difference["why"] and difference["xen"] != difference["xenia"] for difference in DIFFERENCES)


def test_a_crash_report_outlives_the_domain() -> None:
    kernel = guests.build("crash_nohandler", guests.OUTPUT / "crash_nohandler")
    with Machine(Machine.memory_for(32 << 20)) as machine:
        domain = machine.create_domain(kernel, memory=32 << 20)
        domain.start()
        domain.wait()
        domain.destroy()
        report = domain.crash_report
    assert "stack 0" in report
    assert "L1[" in report
