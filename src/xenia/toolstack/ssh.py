"""The way to a running guest's sshd: a port of the host's loopback that leads there, found or made."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xenia.errors import ConfigError
from xenia.toolstack.config.forward import LOOPBACK, Forward
from xenia.toolstack.control import remote
from xenia.toolstack.guest.verbs import Summary
from xenia.toolstack.networks import named, registry
from xenia.toolstack.runtime import runtime_directory

SSH = 22
_LOOK = 0.2  # seconds between two looks
_PATIENCE = 60.0  # seconds
_BOOTED = 60.0  # seconds after which a guest's services have begun, or never will
_REFUSALS = 8.0  # seconds for which a guest that begins may say that nobody listens
_REFUSALS_LATER = 0.5  # and one that has begun
_REST = 1.5  # seconds for which a guest neither works nor reads its disks that has nothing more to begin
_IDLE = 0.1  # of a processor, which a guest at rest uses at the most
_FORWARDS = ("user", "bridge")  # links whose networks forward ports


@dataclass(frozen=True, slots=True)
class Way:
    """Where to connect to, and the file in which the guest's host key is remembered as long as it runs: another guest
    of that name, or the same one on another disk, has another key.

    made     in which network it was made for this; None: it was there
    begins   the guest's services may begin only
    guest    its number, by which it is asked; "": nobody is
    """

    address: str
    port: int
    alias: str
    known_hosts: Path
    made: str | None = None
    begins: bool = True
    guest: str = ""

    def command(self, user: str, words: list[str], identity: str | None = None) -> list[str]:
        """The host's ssh, with all that it needs to know."""
        options = {
            "Port": self.port,
            "User": user,
            "HostKeyAlias": self.alias,
            "UserKnownHostsFile": self.known_hosts,
            "StrictHostKeyChecking": "accept-new",
            "LogLevel": "ERROR",
        }
        known = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return ["ssh", *known, *(["-i", identity] if identity is not None else []), self.address, *words]


def find_way(guest: str) -> Way:
    """The way to a guest, by name or process number.  ConfigError: it does not run, or nothing leads there."""
    cards, silent = remote.cards(guest)
    if silent and not cards:
        raise ConfigError(silent[0])
    if len({card["pid"] for card in cards}) > 1:
        raise ConfigError(f"more than one guest is '{guest}': say which process")
    able = [card for card in cards if card["link"].partition("=")[0] in _FORWARDS]
    if not able:
        what = f"its card is on {cards[0]['link']}: ssh to its address there" if cards else "it has no network card"
        raise ConfigError(f"nothing here leads to '{guest}': {what}")
    port, made = _forward(able[0])
    name = f"{able[0]['guest']}.{able[0]['pid']}"
    begins = able[0]["seconds"] < _BOOTED and able[0]["disks"] > 0  # a RAM disk has no services to begin
    return Way(LOOPBACK, port, name, runtime_directory("ssh") / name, made, begins, able[0]["who"])


def unmake(way: Way) -> None:
    """Take away what was made for it."""
    if way.made is not None:
        with suppress(ConfigError):  # the guest has ended, and its network
            named.forward(way.made, Forward(way.port, SSH), remove=True)


def _forward(card: Mapping[str, Any]) -> tuple[int, str | None]:
    """The port that leads to port 22 of a card's guest; made where there is none, and in which network."""
    private = registry.private_name(card["guest"], card["pid"], card["number"])
    known = [card["network"], card["link"].partition("=")[2] or private]  # a guest that was frozen has another by now
    running = registry.names()
    network = next((name for name in known if name in running), known[-1])
    about = named.show(network)
    own = {card["guest"]} | {port.get("ip") for port in about["ports"] if port.get("mac") == card["mac"]}
    for forward in about["forwards"]:
        here = forward["address"] in (LOOPBACK, "0.0.0.0")
        if here and forward["protocol"] == "tcp" and forward["to_port"] == SSH and forward["to"] in own:
            return int(forward["port"]), None
    with socket.create_server((LOOPBACK, 0)) as free:
        port = free.getsockname()[1]
    named.forward(network, Forward(port, SSH), to=card["guest"])
    return port, network


def await_sshd(way: Way, patience: float | None = None) -> None:
    """Wait until sshd answers there.  ConfigError where it does not within so many seconds; None: a minute, for a guest
    that begins, and where it says that nobody listens, until it rests, or a few seconds."""
    begun, hasty, rest = time.monotonic(), patience is None, Rest(way.guest)
    refusals = _REFUSALS if way.begins else _REFUSALS_LATER
    patience = _PATIENCE if patience is None else patience
    refused: float | None = None  # since when
    while (now := time.monotonic()) < begun + patience:
        match _greeting(way, max(_LOOK, min(patience, 5.0))):
            case b"SSH-":
                return
            case None:  # nobody is there yet
                refused = None
            case _:
                refused = refused or now
        if hasty and refused is not None and (now - refused > refusals or (way.begins and rest.look(now))):
            raise ConfigError(
                "the guest is there, and no sshd answers in it: 'xenia image build --ssh' makes disks with one "
                "(--wait SECONDS waits for it)"
            )
        time.sleep(_LOOK)
    raise ConfigError(
        f"no sshd answers in the guest within {patience:.0f} seconds: 'xenia image build --ssh' makes disks with one"
    )


class Rest:
    """Whether a guest that was busy with its boot has come to rest, so that no service of its will still begin.

    A boot runs, or waits for a disk.  What it ran includes what the host kept it from running.
    """

    def __init__(self, guest: str) -> None:
        self._guest = guest
        self._since: tuple[float, float, int] | None = None  # when, what it had run and read by then

    def look(self, now: float) -> bool:
        """Whether it has rested since an earlier look, for long enough.  A guest that cannot be asked has not."""
        try:
            seen = remote.call(self._guest, Summary()) if self._guest else None
        except ConfigError:
            seen = None
        if seen is None:
            self._since = None
            return False
        ran, read = seen["cpu_time"], seen["disks"]["reads"]
        if self._since is not None:
            before, ran_then, read_then = self._since
            if read == read_then and 0 <= ran - ran_then <= _IDLE * max(now - before, _LOOK):
                return now - before > _REST
        self._since = (now, ran, read)
        return False


def _greeting(way: Way, patience: float) -> bytes | None:
    """What is said first there; empty where nobody listens, None where nothing is heard."""
    try:
        with socket.create_connection((way.address, way.port), timeout=patience) as connection:
            return connection.recv(4)
    except TimeoutError:
        return None
    except OSError:
        return b""
