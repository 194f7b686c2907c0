"""`xenia top`: what domains take of the host, live, as xentop shows it; and in lines where nobody looks (--batch)."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from xenia.cli.exit_status import ExitStatus
from xenia.cli.listings import state_letters
from xenia.cli.printable import printable
from xenia.cli.voice import Voice
from xenia.errors import ConfigError
from xenia.toolstack.control.client import NoSuchGuest, ask_daemon
from xenia.toolstack.service import listing
from xenia.toolstack.service.start import default_memory
from xenia.toolstack.service.usage import Usage

_HEAD = (
    "      NAME  STATE   CPU(sec) CPU(%)     MEM(k) MEM(%)  MAXMEM(k) MAXMEM(%) VCPUS NETS NETTX(k) NETRX(k) VBDS   "
    "VBD_OO   VBD_RD   VBD_WR  VBD_RSECT  VBD_WSECT SSID"
)

_CRASH = 3  # SHUTDOWN_crash
_LOOK = 500  # ms until the window is looked at: a signal that it has changed may come when nobody waits for it

Summary = Mapping[str, Any]


def show_top(options: argparse.Namespace, _: Voice) -> int:
    """Live on a terminal, until q; elsewhere, or with --batch or --json, lines, once or so often as asked for."""
    batch = options.batch or options.json
    live = not batch and sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    if live:
        import curses

        try:
            curses.wrapper(_live, options)
        except curses.error as error:
            raise ConfigError(f"this terminal cannot show it ({error}): --batch prints it") from None
        return ExitStatus.OK
    usage, left = Usage(), options.iterations if options.iterations is not None else 1
    while True:
        if options.json:
            print(json.dumps(_domains(usage)), flush=True)
        else:
            print("\n".join(_screen(usage)), flush=True)
        left -= 1
        if left <= 0:
            return ExitStatus.OK
        time.sleep(options.delay)


def _live(window: Any, options: argparse.Namespace) -> None:
    import curses

    curses.curs_set(0)
    usage, left = Usage(), options.iterations
    while left is None or left > 0:
        lines = _screen(usage)
        _draw(window, lines)
        left = None if left is None else left - 1
        until = time.monotonic() + options.delay
        while (rest := until - time.monotonic()) > 0:
            window.timeout(max(1, min(_LOOK, int(rest * 1000))))
            key = window.getch()
            if key in (ord("q"), ord("Q"), 27):
                return
            size = os.get_terminal_size(sys.stdout.fileno())
            changed = size.columns > 0 and (size.lines, size.columns) != window.getmaxyx()
            if changed:
                curses.resizeterm(size.lines, size.columns)
            if changed or key == curses.KEY_RESIZE:
                _draw(window, lines)


def _draw(window: Any, lines: Sequence[str]) -> None:
    import curses

    height, width = window.getmaxyx()
    window.erase()
    for row, line in enumerate(lines[:height]):
        style = curses.A_REVERSE if line == _HEAD else curses.A_NORMAL
        # the last cell of a window cannot be written without scrolling
        window.addnstr(row, 0, line.ljust(width - 1) if style else line, width - 1, style)
    window.refresh()


def _rows() -> list[Summary]:
    return [row.summary for row in [listing.domain0(), *listing.rows()]]


def _domains(usage: Usage) -> list[Summary]:
    """The same as plain data: what `list` knows of each, and how many hundredths of a processor it takes."""
    rows = _rows()
    used = usage.look(rows)
    return [{**row, "cpu_percent": used.get(row["number"], 0.0)} for row in rows]


def _screen(usage: Usage) -> list[str]:
    """All that is shown now, line by line."""
    rows = _rows()
    try:
        about = ask_daemon("about")
        total, free = about["total_memory"], about["free_memory"]
    except NoSuchGuest:
        total = free = default_memory()
    return screen_lines(rows, usage.look(rows), total, free, time.strftime("%H:%M:%S"))


def screen_lines(rows: Sequence[Summary], used: Mapping[int, float], total: int, free: int, now: str) -> list[str]:
    """xentop's lines: its head, and a line for each domain."""

    def count(flag: str) -> int:
        return sum(bool(row[flag]) for row in rows)

    crashed = sum(row["shutdown"] == _CRASH for row in rows)
    ended = sum(row["shutdown"] is not None for row in rows)
    return [
        f"xentop - {now}   Xenia",
        f"{len(rows)} domains: {count('running')} running, {count('blocked')} blocked, {count('paused')} paused, "
        f"{crashed} crashed, {count('dying')} dying, {ended} shutdown",
        f"Mem: {total >> 10}k total, {(total - free) >> 10}k used, {free >> 10}k free    "
        f"CPUs: {len(os.sched_getaffinity(0))}",
        _HEAD,
        *(_line(row, used.get(row["number"], 0.0), total) for row in rows),
    ]


def _line(row: Summary, used: float, total: int) -> str:
    running, blocked, paused, ended, _, dying = list(state_letters(row))
    state = f"{dying}{ended}{blocked}{'c' if row['shutdown'] == _CRASH else '-'}{paused}{running}"
    memory, share = row["memory"] >> 10, row["memory"] / total * 100
    cards, disks = row["cards"], row["disks"]
    return (
        f"{printable(row['name'])[:10]:>10} {state:>6} {int(row['cpu_time']):10} {used:6.1f} {memory:10} {share:6.1f} "
        f"{memory:10} {share:9.1f} {row['vcpus']:5} {cards['nr']:4} {cards['sent_bytes'] >> 10:8} "
        f"{cards['received_bytes'] >> 10:8} {disks['nr']:4} {0:8} {disks['reads']:8} {disks['writes']:8} "
        f"{disks['bytes_read'] >> 9:10} {disks['bytes_written'] >> 9:10}    0"
    )
