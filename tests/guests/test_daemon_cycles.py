"""Domains of the daemon's come and go, and leave nothing in either of its processes.

For a thousand, or as many as you like: python -m tests.guests.test_daemon_cycles 1000
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.guests.test_daemon import begin, children, held, home, until
from tests.long import amount
from xenia.toolstack.control.client import ask_daemon

pytestmark = pytest.mark.guest

__all__ = ["home"]  # the fixture
CYCLES = amount(1000, 80)
WARM = 20  # of what is loaded late
GROWTH = 24 << 20  # bytes of both processes: what allocators keep, which is no more after 700 domains than after 1,400


def resident(processes: list[int]) -> int:
    """Bytes that they have for themselves: without the machine's memory."""
    pages = (Path(f"/proc/{pid}/statm").read_text().split() for pid in processes)
    return sum(int(size[1]) - int(size[2]) for size in pages) * os.sysconf("SC_PAGE_SIZE")


def cycle(first: int, count: int) -> None:
    """Some are waited for until they are at their prompt; most end wherever they are."""
    for number in range(first, first + count):
        place = begin(f"c{number}")
        if number % 20 == 0:
            until(lambda: all(row["blocked"] for row in ask_daemon("domains")))
        place.ask("destroy")


def come_and_go(count: int) -> float:
    """Seconds for one.  AssertionError where anything is left."""
    cycle(0, WARM)
    about = ask_daemon("about")
    processes = [about["pid"], *children(about["pid"])]
    before, memory = held(processes), resident(processes)
    begun = time.monotonic()
    cycle(WARM, count)
    took = time.monotonic() - begun
    assert ask_daemon("domains") == []
    assert ask_daemon("about")["free_memory"] == about["free_memory"]
    until(lambda: all(now <= then for now, then in zip(held(processes), before, strict=True)))
    assert resident(processes) - memory < GROWTH
    return took / count


def test_domains_come_and_go_in_the_daemon_and_leave_nothing(home: Path) -> None:
    come_and_go(CYCLES)
    assert json.loads((home / "daemon.json").read_text())["domains"] == []
    assert begin("last").domid == WARM + CYCLES + 1


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="xd") as folder:
        os.environ["XDG_RUNTIME_DIR"] = folder
        try:
            print(f"{come_and_go(int(sys.argv[1])) * 1e3:.1f} ms for one, from create to destroyed; nothing is left")
        finally:
            ask_daemon("stop", force=True)
