"""What is said of a domain in a line of a list."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from xenia.hypervisor import life
from xenia.toolstack.devices.kinds import listed

if TYPE_CHECKING:
    from xenia.toolstack.machine.domain import Domain


def summary_of(domain: Domain, *, goes_on: bool, created: float) -> dict[str, Any]:
    """See Domain.summary.

    goes_on   whether it was started, has not ended, and is not paused
    created   when, by the monotonic clock
    """
    vcpus, shutdown, sched = domain.sched.vcpus, domain.shutdown, domain.sched
    states = [vcpu.state for vcpu in vcpus if vcpu.online]
    lists = listed(domain.devices)
    return {
        "name": domain.name,
        "domid": domain.domid,
        "memory": life.nr_frames(domain.handle) << 12,
        "vcpus": len(states) or domain.nr_vcpus,
        "max_vcpus": len(vcpus),
        "running": "r--" in states and domain.runs,
        "blocked": set(states) == {"-b-"} and goes_on,
        "paused": not goes_on and domain.runs,
        "shutdown": None if shutdown is None else int(shutdown.reason),
        "dying": domain.destroyed,
        "weight": sched.weight,
        "cap": sched.cap,
        "cpu_time": sum(vcpu.time for vcpu in vcpus) / 1e9,
        "uptime": time.monotonic() - created,
        "vcpu_list": [
            {"number": vcpu.number, "online": vcpu.online, "running": vcpu.state == "r--" and domain.runs,
             "blocked": vcpu.state == "-b-", "cpu": vcpu.pcpu, "time": vcpu.time / 1e9,
             "hard": sched.named(vcpu.hard), "soft": sched.named(vcpu.soft)}
            for vcpu in vcpus
        ],
        "disks": _totals(lists["disks"], "reads", "writes", "bytes_read", "bytes_written"),
        "cards": _totals(lists.get("cards", []), "sent_bytes", "received_bytes"),
    }  # fmt: skip


def _totals(devices: list[dict[str, Any]], *counts: str) -> dict[str, int]:
    """How many there are, and what they have done together."""
    return {"nr": len(devices), **{name: sum(device[name] for device in devices) for name in counts}}
