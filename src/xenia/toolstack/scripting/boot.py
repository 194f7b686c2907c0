"""A guest of this process, booted for a program: what `Machine.boot` does."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from xenia.errors import ConfigError
from xenia.toolstack.config import values
from xenia.toolstack.config.disk import parse_disk
from xenia.toolstack.config.forward import parse_publish
from xenia.toolstack.config.machine import NAME, MachineConfig, parse_size
from xenia.toolstack.config.net import LINKS, NetConfig, for_guest, parse_net
from xenia.toolstack.config.share import for_guest as for_shares, on_disks, parse_share, place_of
from xenia.toolstack.guest.build import Build
from xenia.toolstack.guest.guest import Guest
from xenia.toolstack.guest.verbs import Destroy, Start
from xenia.toolstack.machine.domain import Domain
from xenia.toolstack.machine.machine import Machine
from xenia.toolstack.networks.cards import Cards
from xenia.toolstack.provision.all_modules import with_all_modules
from xenia.toolstack.provision.boot import Screen, prepare
from xenia.toolstack.scripting.options import DEBIAN, GuestOptions, Path, check, in_python, kernel_of

_log = logging.getLogger(__name__)
# The console is one that somebody types at: it has a prompt.
_SCREEN = Screen("dumb", 24, 80)


@values.given(console=values.console, machine=values.instance(Machine, "a Machine"))
def boot(
    kernel: Path = DEBIAN,
    console: int | Callable[[bytes], None] | None = None,
    machine: Machine | None = None,
    **options: Any,
) -> Domain:
    """See Machine.boot."""
    try:
        return _boot(kernel, console, machine, options)
    except ConfigError as error:
        error.args = (in_python(str(error)),)
        raise


def _boot(
    kernel: Path, console: int | Callable[[bytes], None] | None, machine: Machine | None, options: dict[str, Any]
) -> Domain:
    config = with_all_modules(machine_config(cast(GuestOptions, {**options, "kernel": kernel})), Quiet())
    guest = Guest(config, machine)
    networks = Cards(config.name, () if config.is_demo and config.cards is None else config.cards, _log.warning)
    try:
        prepared = prepare(config, Quiet(), screen=_SCREEN)
        guest.do(Build(prepared, console if console is not None else _nowhere, cards=networks.finish))
    finally:
        networks.close()
    domain = guest.require_domain()
    if machine is None:
        assert guest.machine is not None
        domain.afterwards = guest.machine.close
    try:
        guest.do(Start())
    except BaseException:
        guest.do(Destroy())
        raise
    return domain


def machine_config(options: GuestOptions) -> MachineConfig:
    """The configuration that the options ask for.  ConfigError where they contradict each other, TypeError for what is
    no option."""
    given = check(options)
    kernel, flavour = kernel_of(given.pop("kernel", None))
    config: dict[str, Any] = {"kernel": kernel, "flavour": flavour, "name": given.pop("name", NAME)}
    append = given.pop("append", "")
    disks = tuple(map(parse_disk, given.pop("disks", ())))
    if (root := given.pop("root", None)) is not None:
        disk = parse_disk(root)
        disk = replace(disk, name=disk.name or "xvda")
        disks, append = (disk, *disks), f"root=/dev/{disk.name} {append}".strip()
    for size in ("memory", "max_memory"):
        if (value := given.pop(size, None)) is not None:
            config[size] = parse_size(value) if isinstance(value, str) else value
    for file in ("initrd", "modules"):
        if (path := given.pop(file, None)) is not None:
            config[file] = path
    for name, option in (("env", "environment"), ("cwd", "directory"), ("vcpus", "vcpus"), ("clock", "clock")):
        if name in given:
            config[option] = given.pop(name)
    shares = for_shares((
        *(parse_share(words) for words in given.pop("share", ())),
        *(parse_share(words, cow=True) for words in given.pop("rw_cow", ())),
    ))  # fmt: skip
    if "directory" not in config and (place := place_of(os.getcwd(), shares)) is not None:
        config["directory"] = place
    cards = _cards(given.pop("net", ()), given.pop("publish", ()), config["name"])
    disks, devices = on_disks(shares, disks)
    return MachineConfig(**config, append=append, disks=disks, cards=cards, devices=devices)


def _cards(net: Any, publish: Any, guest: str) -> tuple[NetConfig, ...] | None:
    """Its network cards; None where nobody says anything."""
    if not net and not publish:
        return None
    cards = [card for card in map(parse_net, net) if card is not None] if net else [NetConfig()]
    if publish:
        able = [card for card in cards if "forward" in LINKS[card.link_kind][1]]
        if not able:
            raise ConfigError("publish needs a card on a network that forwards ports: user, bridge=NAME or passt")
        cards[cards.index(able[0])] = able[0].forwarding(list(map(parse_publish, publish)))
    return for_guest(cards, guest)


class Quiet:
    """What `xenia run` shows of its progress, for a program: warnings are logged."""

    def say(self, text: str) -> None:
        """Told to who listens."""
        _log.info("%s", text)

    def warn(self, text: str) -> None:
        """Told."""
        _log.warning("%s", text)

    def progress(self, what: str, done: int, total: int) -> None:
        """Nobody looks."""

    def busy(self, what: str) -> None:
        """Nobody looks."""

    def clear(self) -> None:
        """Nothing was shown."""


def _nowhere(data: bytes) -> None:
    """The guest's console is kept as a transcript."""


Machine.booting = staticmethod(boot)
