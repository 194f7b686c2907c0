"""`xenia run`: from options to a configuration, and from an outcome to one clear line and an exit status."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import cast

from xenia.cli.arguments import variable
from xenia.cli.exit_status import EndedBySignal, ExitStatus
from xenia.cli.json_voice import JsonVoice
from xenia.cli.log_voice import tell_what_is_logged
from xenia.cli.signals import raise_no_more
from xenia.cli.voice import Voice
from xenia.errors import ConfigError
from xenia.storage.folder import telling
from xenia.toolstack import run as toolstack
from xenia.toolstack.config import net as networks
from xenia.toolstack.config.disk import parse_disk
from xenia.toolstack.config.forward import parse_publish
from xenia.toolstack.config.machine import NAME, MachineConfig
from xenia.toolstack.config.net import LINKS, NetConfig, parse_net
from xenia.toolstack.config.share import HOST_ROOT, ShareConfig, for_guest, on_disks, parse_share, place_of
from xenia.toolstack.control.client import process_of
from xenia.toolstack.provision.own_kernel import BZIMAGE, is_built_tree, tree_image, tree_share
from xenia.toolstack.run import Ending, Outcome

ROOT = "xvda"  # the first disk
_STATUSES = {
    Ending.POWEROFF: ExitStatus.OK,
    Ending.LEFT: ExitStatus.OK,
    Ending.REBOOT: ExitStatus.REBOOT,
    Ending.SUSPEND: ExitStatus.SUSPEND,
    Ending.CRASH: ExitStatus.CRASH,
    Ending.PANIC: ExitStatus.PANIC,
    Ending.HALTED: ExitStatus.PANIC,
    Ending.WATCHDOG: ExitStatus.WATCHDOG,
    Ending.LOST: ExitStatus.LOST,
    Ending.TIMEOUT: ExitStatus.TIMEOUT,
}


_OPTIONS = (
    "kernel", "initrd", "modules", "append", "memory", "max_memory", "machine_memory", "name", "clock", "scatter",
    "engine", "flavour", "xenstore", "on_reboot", "timeout", "jail", "gdb",
)  # fmt: skip


def run(options: argparse.Namespace, command: list[str], voice: Voice) -> int:
    """Boot, attach, and return the exit status.  EndedBySignal where a signal ended it."""
    tell_what_is_logged(voice)
    if all(getattr(options, name) is None for name in ("kernel", "kdir", "flavour")) and is_built_tree(Path()):
        options.kdir = "."
        voice.say(f"booting the kernel that was built here, {BZIMAGE} (--flavour amd64 takes the distribution's)")
    if options.detach:
        from xenia.cli.background import run_detached

        return run_detached(options, lambda: configuration(options, command), voice)
    config = configuration(options, command)
    if not config.jail:
        voice.error("NO JAIL: a guest that breaks out of its machine can do here whatever you can")
    with telling(voice.progress):
        outcome = toolstack.run(config, voice, verbose=options.verbose, violation_status=ExitStatus.JAIL)
    voice.clear()
    if isinstance(voice, JsonVoice):
        voice.ended(outcome)
    return report(outcome, voice)


def configuration(options: argparse.Namespace, command: list[str]) -> MachineConfig:
    """The configuration that the options ask for.  ConfigError where they contradict each other."""
    given = {name: value for name in _OPTIONS if (value := getattr(options, name)) is not None}
    if options.kdir is not None:
        if not given.keys().isdisjoint(("kernel", "flavour")):
            raise ConfigError("--kdir brings its own kernel; give it or --kernel or --flavour")
        given["kernel"] = str(tree_image(Path(options.kdir)))
    if options.vcpus is not None:
        given["vcpus"], given["max_vcpus"] = options.vcpus
    disks = tuple(map(parse_disk, options.disk))
    if options.root is not None:
        root = parse_disk(options.root)
        name = root.name if root.name is not None else ROOT
        disks = (replace(root, name=name), *disks)
        given["append"] = f"root=/dev/{name} {given['append']}".strip()
    if options.gdb_wait:
        given |= {"gdb": given.get("gdb", True), "gdb_wait": True}
    shares = _shares(options)
    if (directory := _directory(options, command, shares)) is not None:
        given["directory"] = directory
    shares = _with_tree(options, given["append"], shares)
    environment = dict(map(variable, options.env))
    if options.name is not None and (process := process_of(options.name)) is not None:
        raise ConfigError(f"--name {options.name}: a guest of that name is running, in process {process}")
    cards = _cards(options, given.get("name", NAME))
    disks, devices = on_disks(shares, disks)
    return MachineConfig(
        **given, command=tuple(command), environment=environment, disks=disks, cards=cards,
        devices=devices,
    )  # fmt: skip


def _shares(options: argparse.Namespace) -> tuple[ShareConfig, ...]:
    """What --host-root, --share and --rw-cow ask for."""
    if options.host_root and options.root is not None:
        raise ConfigError("--host-root and --root: the guest has one root; give either")
    return for_guest((
        *((HOST_ROOT,) if options.host_root else ()),
        *(parse_share(words) for words in options.share),
        *(parse_share(words, cow=True) for words in options.rw_cow),
    ))  # fmt: skip


def _with_tree(options: argparse.Namespace, append: str, shares: tuple[ShareConfig, ...]) -> tuple[ShareConfig, ...]:
    """The guest's folders with the tree that its kernel was built in, unless it has a disk or a RAM disk of its own for
    a root."""
    if options.kdir is None or options.initrd is not None or "root=" in append:
        return shares
    tree = tree_share(Path(options.kdir))
    if tree is None or tree.mount in (share.mount for share in shares):
        return shares
    return for_guest((*shares, tree))


def _directory(options: argparse.Namespace, command: list[str], shares: tuple[ShareConfig, ...]) -> str | None:
    """Where the command or shell begins: in this very folder, where the guest sees it.  An init has its own place."""
    if options.cwd is not None or (options.root is not None and not command):
        return cast("str | None", options.cwd)
    return place_of(os.getcwd(), shares)


def _cards(options: argparse.Namespace, guest: str) -> tuple[NetConfig, ...] | None:
    """What --net and -p ask for; None where neither says anything."""
    asked = [parse_net(words) for words in options.net]
    forwards = [parse_publish(words) for words in options.publish]
    if None in asked and len(asked) > 1:
        raise ConfigError("--net none goes with no other --net")
    cards = [card for card in asked if card is not None]
    if forwards:
        if not asked:
            cards.append(NetConfig())
        able = [card for card in cards if "forward" in LINKS[card.link_kind][1]]
        if not able:
            raise ConfigError("-p needs a card on a network that forwards ports: --net user, bridge=NAME or passt")
        cards[cards.index(able[0])] = able[0].forwarding(forwards)
    elif not asked:
        return None
    return networks.for_guest(cards, guest)


def report(outcome: Outcome, voice: Voice) -> int:
    """Say how the run ended, and return the status for it."""
    if outcome.console:
        voice.plain(outcome.console.decode("utf-8", "replace").replace("\r\n", "\n").rstrip("\n"))
    match outcome.ending:
        case Ending.COMMAND:
            return outcome.status
        case Ending.SIGNAL:
            assert outcome.signal is not None
            raise_no_more()
            raise EndedBySignal(outcome.signal)
        case Ending.OUTPUT if not outcome.reason:
            raise BrokenPipeError
        case Ending.OUTPUT:
            voice.error(f"cannot write to standard output: {outcome.reason}")
            return ExitStatus.USAGE
        case Ending.CRASH:
            voice.plain(outcome.report)
            voice.error(f"the guest was crashed: {outcome.reason}")
        case Ending.POWEROFF:
            voice.say("the guest powered off")
        case Ending.TIMEOUT:
            voice.error("the guest had not ended when its time was over (--timeout)")
        case Ending.LEFT:
            voice.say("left the console; the guest was destroyed")
        case Ending.REBOOT if outcome.reason:
            voice.error(f"the guest reboots too fast ({outcome.reason}); it is not started again")
        case Ending.REBOOT:
            voice.error("the guest asked to reboot; it is not started again (--on-reboot restart)")
        case Ending.SUSPEND:
            voice.error("the guest suspended itself, and nobody is there to resume it")
        case Ending.PANIC if outcome.code is not None:
            voice.error(f"the guest's kernel gave up with the reason {outcome.code}, which is none of Xen's")
        case Ending.PANIC:
            voice.error("the guest's kernel panicked")
        case Ending.HALTED:
            voice.error(
                "the guest's kernel stopped without a word (if it is Linux: --append earlyprintk=xen shows why)"
            )
        case Ending.WATCHDOG:
            voice.error("the guest's watchdog fired")
        case Ending.LOST:
            voice.error("the guest powered off before its command ended")
    return _STATUSES[outcome.ending]
