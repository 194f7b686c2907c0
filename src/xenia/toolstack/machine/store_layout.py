"""What a toolstack writes into xenstore for a PV domain, but for its devices: those write keys of their own."""

from __future__ import annotations

from xenia.hypervisor.machine import DomainHandle
from xenia.xenbus.attachment import remove_all
from xenia.xenstore.client import Client, Keys
from xenia.xenstore.permissions import Access, Permissions


def home(domid: int) -> str:
    """The directory of a domain."""
    return f"/local/domain/{domid}"


def write_home(keys: Keys, name: str, memory: int, vm: DomainHandle) -> None:
    """Make the home of a domain of `memory` bytes: what it reads, and what is its own."""
    path = home(vm.domid)
    guest_owns = Permissions(vm.domid, Access.NONE)
    for key, value in {
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
        keys.write(path + key, value)
        keys.set_permissions(path + key, _guest_reads(vm.domid))
    for key in ("/control", "/control/shutdown", "/data", "/drivers", "/feature", "/attr", "/error"):
        keys.write(path + key, "")
        keys.set_permissions(path + key, guest_owns)


def write_backend_home(keys: Keys, domid: int) -> None:
    """Make the directory in which a driver domain's backends are; it is the domain's own."""
    path = f"{home(domid)}/backend"
    keys.mkdir(path)
    keys.set_permissions(path, Permissions(domid, Access.NONE))


def write_window_size(client: Client, domid: int, rows: int, columns: int) -> None:
    """Tell a domain the size of the window that shows its console: a key of Xenia's own, which its agent watches.
    Nothing where the domain is destroyed."""
    console = f"{home(domid)}/console"

    def write(keys: Keys) -> None:
        if keys.exists(console):
            keys.write(f"{console}/window-size", f"{rows} {columns}")
            keys.set_permissions(f"{console}/window-size", _guest_reads(domid))

    client.atomically(write)


def remove_home(keys: Keys, domid: int) -> None:
    """Take all of that away, and what the domain wrote itself."""
    remove_all(keys, home(domid))


def _guest_reads(domid: int) -> Permissions:
    return Permissions(0, Access.NONE, ((domid, Access.READ),))
