"""What others may ask of a guest that runs, over its control socket: verbs, at both ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from xenia.toolstack.control.control import Answers, Handler, ask, ask_all
from xenia.toolstack.devices.kinds import KINDS
from xenia.toolstack.guest.guest import Guest
from xenia.toolstack.guest.verbs import REMOTE, AttachDevice, Handover, RemoteVerb, Request, Statistics

R = TypeVar("R")


def handlers(guest: Guest) -> Mapping[str, Handler]:
    """What `guest` can be asked, by the word for it."""

    def handler(read: Callable[[Request], RemoteVerb[Any]]) -> Handler:
        return lambda request: guest.do(read(request))

    return {word: handler(read) for kind in REMOTE for word, read in kind.readers().items()}


def call(guest: str, verb: RemoteVerb[R]) -> R:
    """Have the guest of that name or process number do it; its answer.  ConfigError, also where it refuses."""
    answer = ask(guest, verb.word, patience=verb.patience, descriptors=verb.descriptors, **verb.request())
    return cast(R, answer)


def call_all(verb: RemoteVerb[dict[str, Any]], guest: str | None = None) -> Answers:
    """Have every guest that runs do it, or those of one name or process number; `pid` is in each answer.

    ConfigError when `guest` does not run.
    """
    return ask_all(verb.word, guest)


def statistics(guest: str | None = None) -> list[dict[str, Any]]:
    """What guests that run have done: Domain.statistics of each that answers, and `pid`.

    ConfigError when `guest` does not run.
    """
    return call_all(Statistics(), guest).answers


def attach(guest: str, kind: str, words: str) -> str:
    """Plug a device, in an operator's words for its kind, into a guest that runs; its name there.  ConfigError."""
    config = KINDS[kind].functions.parse(words).within(Path.cwd())
    with config.opened() as (config, files):
        handover = Handover([name for name, _ in files], [descriptor for _, descriptor in files])
        return call(guest, AttachDevice(config, handover))
