"""What runs of this user, the daemon's domains and the guests of `xenia run`, as `xl list` and its like see it."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xenia.errors import ConfigError
from xenia.toolstack.control.client import NoSuchGuest, Place, ask_daemon, places
from xenia.toolstack.control.control import daemon_path

CLAIMED = 0  # bytes of any domain: its memory is reserved and given in one step
_NO_UUID = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True)
class Row:
    """A domain: where it answers, and Domain.summary with its `number` for an operator and its `uuid`."""

    place: Place
    summary: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """All that is known, as plain data."""
        return {**self.summary, "pid": self.place.pid, "daemon": self.place.domid is not None}


def rows() -> list[Row]:
    """The daemon's domains by their numbers, then those of `xenia run`.

    ConfigError where the daemon runs and does not answer.
    """
    found = []
    try:
        of_the_daemon = ask_daemon("domains")
    except NoSuchGuest:
        of_the_daemon = []
    for summary in sorted(of_the_daemon, key=lambda one: int(one["domid"])):
        place = Place(daemon_path(), summary["name"], summary["pid"], summary["domid"])
        found.append(Row(place, {**summary, "number": place.number}))
    for place in places():
        if place.domid is None:
            try:
                found.append(Row(place, {"uuid": _NO_UUID, **place.ask("domain"), "number": place.number}))
            except ConfigError:
                continue  # ends just now, or is stopped
    return found


def domain0() -> Row:
    """What stands for xl's domain 0: the daemon itself, whose memory is what it takes of the host."""
    try:
        pid = int(ask_daemon("about")["pid"])
    except NoSuchGuest:
        pid = 0
    memory, seconds = _usage(pid) if pid else (0, 0.0)
    summary = {
        "name": "Domain-0", "domid": 0, "number": 0, "uuid": _NO_UUID, "memory": memory,
        "vcpus": len(os.sched_getaffinity(0)), "running": True, "blocked": False, "paused": False, "shutdown": None,
        "dying": False, "cpu_time": seconds, "vcpu_list": [],
        "uptime": float(Path("/proc/uptime").read_text().split()[0]),
        "disks": dict.fromkeys(("nr", "reads", "writes", "bytes_read", "bytes_written"), 0),
        "cards": dict.fromkeys(("nr", "sent_bytes", "received_bytes"), 0),
    }  # fmt: skip
    return Row(Place(daemon_path(), "Domain-0", pid, 0), summary)


def configurations(found: Iterable[Row]) -> list[dict[str, Any]]:
    """`xl list -l`: of each domain its number and what it was asked to be."""
    told = []
    for row in found:
        try:
            config = row.place.ask("configuration") if row.place.domid else {"c_info": {"name": row.place.name}}
        except ConfigError:
            continue  # gone meanwhile
        told.append({"domid": row.place.number, "config": config.get("said", config)})
    return told


def _usage(pid: int) -> tuple[int, float]:
    """Bytes that a process holds of the host's memory, and its processor time in seconds."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError, IndexError):
        return 0, 0.0
    return pages * resource.getpagesize(), (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
