"""A domain's home in xenstore: what a toolstack writes for a PV domain before it runs."""

from __future__ import annotations

from xenia.hypervisor.machine import DomainHandle
from xenia.xenstore.client import Keys
from xenia.xenstore.permissions import Access, Permissions


def write_home(keys: Keys, name: str, memory: int, vm: DomainHandle) -> None:
    """Make the home of a domain of `memory` bytes: what it reads, and what is its own."""
    home = f"/local/domain/{vm.domid}"
    guest_reads = Permissions(0, Access.NONE, ((vm.domid, Access.READ),))
    guest_owns = Permissions(vm.domid, Access.NONE)
    for path, value in {
        "": "",
        "/name": name,
        "/domid": str(vm.domid),
        "/memory": "",
        "/memory/static-max": str(memory >> 10),
        "/memory/target": str(memory >> 10),
        "/store": "",
        "/store/port": str(vm.store_port),
        "/store/ring-ref": str(vm.store_mfn),
        "/console": "",
        "/console/port": str(vm.console_port),
        "/console/type": "xenconsoled",
        "/cpu": "",
        "/cpu/0": "",
        "/cpu/0/availability": "online",
        "/device": "",
    }.items():
        keys.write(home + path, value)
        keys.set_permissions(home + path, guest_reads)
    for path in ("/control", "/control/shutdown", "/data", "/drivers", "/feature", "/attr", "/error"):
        keys.write(home + path, "")
        keys.set_permissions(home + path, guest_owns)
