"""What a toolstack writes into xenstore for a PV domain, but for its devices: those write keys of their own."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar, Final

from xenia.hypervisor.domain import DomainHandle
from xenia.persist import State
from xenia.xenbus.directories import remove_all
from xenia.xenstore.client import Client, Keys
from xenia.xenstore.permissions import Access, Permissions

# Of a home, what is written anew for a domain under another number: by us, or by its devices.
WRITTEN_ANEW: Final = frozenset({"domid", "store", "console", "device", "backend", "error"})
OWN: Final = "self"
# What the guest's agent says to who wants a command run, and he to the agent (agent/exec.h); a home's keys.
AGENT_WAITS: Final = "data/xenia-agent"
COMMAND_STATUS: Final = "data/xenia-status"  # of the command that has its console
_AGENT_ASKED: Final = "control/xenia-agent"


def home(domid: int) -> str:
    """The directory of a domain."""
    return f"/local/domain/{domid}"


def write_home(keys: Keys, name: str, memory: int, max_memory: int, vcpus: int, handle: DomainHandle) -> None:
    """Make the home of a domain of `memory` bytes, and at most `max_memory`, that is to use `vcpus` of its vcpus: what
    it reads, and what is its own."""
    path = home(handle.domid)
    guest_owns = Permissions(handle.domid, Access.NONE)
    for key, value in {
        "": "",
        "/name": name,
        "/domid": str(handle.domid),
        "/memory": "",
        "/memory/static-max": str(max_memory >> 10),
        "/memory/target": str(memory >> 10),
        "/store": "",
        "/store/port": str(handle.store_port),
        "/store/ring-ref": str(handle.store_mfn),
        "/console": "",
        "/console/port": str(handle.console_port),
        "/console/type": "xenconsoled",
        "/cpu": "",
        "/device": "",
    }.items():
        keys.write(path + key, value)
        keys.set_permissions(path + key, _guest_reads(handle.domid))
    write_vcpus(keys, handle.domid, vcpus, handle.max_vcpus)
    for key in ("/control", "/control/shutdown", "/data", "/drivers", "/feature", "/attr", "/error"):
        keys.write(path + key, "")
        keys.set_permissions(path + key, guest_owns)


def write_vcpus(keys: Keys, domid: int, vcpus: int, max_vcpus: int) -> None:
    """Say which vcpus a domain is to use: the first `vcpus` of `max_vcpus`.  It watches that."""
    for number in range(max_vcpus):
        path = f"{home(domid)}/cpu/{number}"
        for key, value in ((path, ""), (f"{path}/availability", "online" if number < vcpus else "offline")):
            keys.write(key, value)
            keys.set_permissions(key, _guest_reads(domid))


def write_backend_home(keys: Keys, domid: int) -> None:
    """Make the directory in which a driver domain's backends are; it is the domain's own."""
    path = f"{home(domid)}/backend"
    keys.mkdir(path)
    keys.set_permissions(path, Permissions(domid, Access.NONE))


class MemoryKeys:
    """What a guest's balloon driver is told: how much memory it is to have, and how much at most; in bytes here."""

    def __init__(self, client: Client, domid: int) -> None:
        self._client = client
        self._path = f"{home(domid)}/memory"

    def __getitem__(self, key: str) -> int:
        """`target` or `static-max`; 0 where the domain is gone."""
        return int(self._client.get(f"{self._path}/{key}") or 0) << 10

    def __setitem__(self, key: str, size: int) -> None:
        self._client.atomically(lambda keys: self._write(keys, key, size))

    def _write(self, keys: Keys, key: str, size: int) -> None:
        if keys.exists(f"{self._path}/{key}"):
            keys.write(f"{self._path}/{key}", str(size >> 10))


def write_window_size(client: Client, domid: int, rows: int, columns: int) -> None:
    """Tell a domain the size of the window that shows its console: a key of Xenia's own, which its agent watches.
    Nothing where the domain is destroyed."""
    console = f"{home(domid)}/console"

    def write(keys: Keys) -> None:
        if keys.exists(console):
            keys.write(f"{console}/window-size", f"{rows} {columns}")
            keys.set_permissions(f"{console}/window-size", _guest_reads(domid))

    client.atomically(write)


def ask_agent(client: Client, domid: int) -> None:
    """Ask a domain's agent to have somebody wait for a command.  Nothing where the domain is destroyed."""
    key = f"{home(domid)}/{_AGENT_ASKED}"

    def write(keys: Keys) -> None:
        if keys.exists(f"{home(domid)}/control"):
            keys.write(key, str(time.monotonic_ns()))
            keys.set_permissions(key, _guest_reads(domid))

    client.atomically(write)


def remove_home(keys: Keys, domid: int) -> None:
    """Take all of that away, and what the domain wrote itself."""
    remove_all(keys, home(domid))


@dataclass(frozen=True)
class HomeState(State):
    """What a domain's home holds that is not written anew for it: its own keys, and what the toolstack told it.

    keys    path below the home, value, permissions as the store spells them; OWN stands for the domain's number there
    """

    VERSION: ClassVar[int] = 1

    keys: tuple[tuple[str, str, tuple[str, ...]], ...]


def save_home(keys: Keys, domid: int) -> HomeState:
    """What is to be in the home of the same guest under another number."""
    found: list[tuple[str, str, tuple[str, ...]]] = []
    pending = [f"/{name}" for name in reversed(keys.directory(home(domid))) if name not in WRITTEN_ANEW]
    while pending:
        path = pending.pop()
        if path == f"/{AGENT_WAITS}":
            continue  # who waited there does not any more
        at = home(domid) + path
        entries = (
            f"{entry[0]}{OWN if entry[1:] == str(domid) else entry[1:]}" for entry in keys.permissions(at).entries()
        )
        found.append((path, keys.read(at), tuple(entries)))
        pending.extend(f"{path}/{name}" for name in reversed(keys.directory(at)))
    return HomeState(tuple(found))


def restore_home(keys: Keys, domid: int, state: HomeState) -> None:
    """Put it there.  Precondition: `write_home`."""
    for path, value, entries in state.keys:
        keys.write(home(domid) + path, value)
        own = (f"{entry[0]}{domid if entry[1:] == OWN else entry[1:]}".encode("ascii") for entry in entries)
        keys.set_permissions(home(domid) + path, Permissions.parse(own))


def _guest_reads(domid: int) -> Permissions:
    return Permissions(0, Access.NONE, ((domid, Access.READ),))
