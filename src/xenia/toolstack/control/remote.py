"""What others may ask of a guest that runs, over its control socket: verbs, at both ends."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from xenia.errors import ConfigError
from xenia.net.layers.words import parse_changes, words_of
from xenia.toolstack.config.net import NetConfig
from xenia.toolstack.control.client import Answers, ask, ask_all, find_one
from xenia.toolstack.control.control import Handler
from xenia.toolstack.devices.kinds import KINDS
from xenia.toolstack.guest.card_verbs import CaptureCard, ChangeCard
from xenia.toolstack.guest.command_verbs import RunCommand
from xenia.toolstack.guest.debug_verbs import ServeDebuggers, ServeMemory
from xenia.toolstack.guest.dump_verbs import DumpCore
from xenia.toolstack.guest.guest import Guest
from xenia.toolstack.guest.life_verbs import LIFE
from xenia.toolstack.guest.memory_verbs import SetMemory
from xenia.toolstack.guest.sched_verbs import PinVcpu, SetShare
from xenia.toolstack.guest.vcpu_verbs import SetVcpus
from xenia.toolstack.guest.verbs import REMOTE, AttachDevice, Handover, RemoteVerb, Request, Statistics
from xenia.toolstack.networks import named, opening

R = TypeVar("R")

_VERBS: tuple[type[RemoteVerb[Any]], ...] = (
    *REMOTE,
    *LIFE,
    ChangeCard,
    CaptureCard,
    SetMemory,
    SetVcpus,
    DumpCore,
    RunCommand,
    ServeDebuggers,
    ServeMemory,
    PinVcpu,
    SetShare,
)


def handlers(guest: Guest) -> Mapping[str, Handler]:
    """What `guest` can be asked, by the word for it."""

    def handler(read: Callable[[Request], RemoteVerb[Any]]) -> Handler:
        return lambda request: guest.do(read(request))

    return {word: handler(read) for kind in _VERBS for word, read in kind.readers().items()}


def words() -> list[str]:
    """The words for what a guest can be asked."""
    return [word for kind in _VERBS for word in kind.readers()]


def call(guest: str, verb: RemoteVerb[R]) -> R:
    """Have the guest of that name or process number do it; its answer.  ConfigError, also where it refuses."""
    answer = ask(guest, verb.word, patience=verb.patience, descriptors=verb.descriptors, **verb.request())
    return cast(R, answer)


def call_all(verb: RemoteVerb[dict[str, Any]], guest: str | None = None) -> Answers:
    """Have every guest that runs do it, or those of one name or process number; `pid` is in each answer.

    ConfigError when `guest` does not run.
    """
    return ask_all(verb.word, guest, **verb.request())


def statistics(guest: str | None = None) -> list[dict[str, Any]]:
    """What guests that run have done: Domain.statistics of each that answers, and `pid`.

    ConfigError when `guest` does not run.
    """
    return call_all(Statistics(), guest).answers


def attach(guest: str, kind: str, words: str) -> str:
    """Plug a device, in an operator's words for its kind, into a guest that runs; its name there.  ConfigError."""
    config = KINDS[kind].functions.parse(words).within(Path.cwd()).among(lambda: call(guest, Statistics()))
    if isinstance(config, NetConfig):
        config = opening.private(config, find_one(guest).number)
    with config.opened() as (config, files):
        handover = Handover([name for name, _ in files], [descriptor for _, descriptor in files])
        return call(guest, AttachDevice(config, handover))


class Cards(NamedTuple):
    """Network cards of guests that run, and why others did not answer, in a line for each."""

    found: list[dict[str, Any]]
    silent: list[str]


def cards(guest: str | None = None) -> Cards:
    """Of each guest that runs, or those of one name or process number: the card's statistics, with `guest`, `pid`,
    `who` (the guest, as it is asked), `domid`, the `seconds` for which it has run and how many `disks` it has.
    ConfigError when `guest` does not run."""
    answers, silent = call_all(Statistics(), guest)
    whose = (
        {
            "guest": one["name"],
            "pid": one["pid"],
            "who": str(one["number"]),
            "domid": one["domid"],
            "seconds": one["seconds"],
            "disks": len(one.get("disks", [])),
        }
        for one in answers
    )
    return Cards(
        [{**who, **card} for who, one in zip(whose, answers, strict=True) for card in one.get("cards", [])], silent
    )


@contextmanager
def capturing(what: str) -> Iterator[int]:
    """What passes a card or a network's port, as pcapng, from a pipe that is read.

    what    a card as an operator calls it, a guest with one card, GUEST/CARD or NETWORK/PORT

    ConfigError where there is none, or more than one.
    """
    source, target = os.pipe2(os.O_CLOEXEC)
    end: Callable[[], object] | None = None
    try:
        try:
            card = _card(what)
            if card is None:
                end = named.capture(what, target)
            else:
                call(card["who"], CaptureCard(card["name"], [target]))
                end = partial(call, card["who"], CaptureCard(card["name"], []))
        finally:
            os.close(target)
        yield source
    finally:
        os.close(source)
        with suppress(ConfigError):  # who has ended writes no more
            if end is not None:
                end()


def change_card(what: str, words: Iterable[str]) -> str:
    """Have the layers of a card do what these words say from now on; the card's name.

    what    as for `capturing`, a guest's card
    words   of layers; and carrier=down, which pulls its cable out, or carrier=up

    ConfigError where there is none, more than one, or the card cannot have such layers.
    """
    said = [opening.pair_of(word) for word in words]
    pairs = words_of(parse_changes(pair for pair in said if pair[0] != "carrier"))
    carriers = [value for word, value in said if word == "carrier"]
    if carriers not in ([], ["up"], ["down"]):
        raise ConfigError(f"'carrier={carriers[-1]}': the carrier is up or down, and said once")
    card = _card(what)
    if card is None:
        raise ConfigError(f"'{what}' is no card of a guest that runs")
    return call(card["who"], ChangeCard(card["name"], pairs, carriers == ["up"] if carriers else None))


def _card(what: str) -> dict[str, Any] | None:
    """The card that is meant; None where none is."""
    guest, slash, name = what.partition("/")
    found = [card for card in cards().found if _is_meant(card, guest, name if slash else None)]
    if len(found) > 1:
        meant = ", ".join(f"{card['guest']}/{card['name']} (process {card['pid']})" for card in found)
        raise ConfigError(f"more than one card is '{what}': say which of {meant}")
    return found[0] if found else None


def _is_meant(card: Mapping[str, Any], first: str, second: str | None) -> bool:
    names = (card["name"], card["mac"], f"vif{card['domid']}.{card['number']}")
    whose = (card["guest"], str(card["pid"]), card["who"])
    if second is not None:
        return first in whose and second in (*names, str(card["number"]))
    return first in (*whose, *names[1:])
