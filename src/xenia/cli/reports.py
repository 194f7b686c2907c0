"""The verbs that only look and tell: doctor, inspect, hypercalls.  Lines for people, JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from xenia.cli.exit_status import ExitStatus
from xenia.cli.printable import printable
from xenia.hypercalls.table import rows
from xenia.toolstack.config.machine import MIB
from xenia.toolstack.doctor import Check, Status, examine
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.provision.inspect import DRIVERS, Driver, Inspection, inspect_kernel

_COLOURS = {Status.OK: "\x1b[32m", Status.WARN: "\x1b[33m", Status.FAIL: "\x1b[1;31m"}


def doctor(as_json: bool) -> int:
    """One line for each thing looked at.  PROBLEM when something is missing without which Xenia cannot run."""
    checks = examine(Cache())
    failed = any(check.status is Status.FAIL for check in checks)
    if as_json:
        _print_json({"ok": not failed, "checks": [asdict(check) for check in checks]})
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            print(_check_line(check, width))
    return ExitStatus.PROBLEM if failed else ExitStatus.OK


def inspect(kernel: str, as_json: bool) -> int:
    """What a kernel file is.  PROBLEM when it cannot boot as a PV guest."""
    found = inspect_kernel(Path(kernel), cache=Cache())
    if as_json:
        _print_json(found.as_dict())
    else:
        print_table(_inspection_lines(found))
    return ExitStatus.OK if found.pv_capable else ExitStatus.PROBLEM


def hypercalls(as_json: bool) -> int:
    """The hypercall table."""
    if as_json:
        _print_json([asdict(row) for row in rows()])
    else:
        print_table([("NUMBER", "HYPERCALL", "SUPPORT", "NOTE"), *(
            (str(row.number), row.name, row.support.value, row.note) for row in rows()
        )])  # fmt: skip
    return ExitStatus.OK


def _check_line(check: Check, width: int) -> str:
    status = f"{check.status.value:4}"
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb":
        status = f"{_COLOURS[check.status]}{status}\x1b[0m"
    remedy = f" ({check.remedy})" if check.remedy else ""
    return f"{status} {check.name:{width}}  {check.detail}{remedy}"


def _inspection_lines(found: Inspection) -> Iterable[tuple[str, str]]:
    yield "file", f"{found.path}: {found.container}, {found.file_size} bytes"
    yield "payload", f"{found.packing}, {found.payload_size} bytes, unpacks to {found.image_size}"
    if found.version:
        yield "version", found.version
    yield "boots as PV guest", "yes" if found.pv_capable else f"no: {found.pv_reason}"
    notes = found.notes
    if notes is not None:
        source = "__xen_guest section" if notes.legacy else "ELF notes"
        yield "says it is", " ".join(filter(None, (notes.guest_os, notes.guest_version))) + f" ({source})"
        yield (
            "features",
            " ".join(f"!{name}" if name in notes.required else name for name in sorted(notes.supported))
            or "none named",
        )
    for name, address in (("virtual base", found.virt_base), ("entry", found.entry)):
        if address is not None:
            yield name, f"{address:#x}"
    if found.memory_needed is not None:
        yield "least memory", f"{-(-found.memory_needed // MIB)}M"
    if any(how is not Driver.UNKNOWN for how in found.drivers.values()):
        for name, _, purpose in DRIVERS:
            yield purpose, f"{name}: {found.drivers[name].value}"


def print_table(table: Iterable[Sequence[str]]) -> None:
    """Lines of cells, in columns as wide as they need be."""
    lines = [[printable(cell) for cell in line] for line in table]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        print("  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))
