"""What can be done with a network card of a guest that runs, besides plugging it in and out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from xenia.errors import ConfigError
from xenia.net.layers.words import Words, parse_changes, words_of
from xenia.toolstack.guest.state import State
from xenia.toolstack.guest.verbs import RemoteVerb, Request, argument

if TYPE_CHECKING:
    from xenia.toolstack.guest.guest import Guest


@dataclass(frozen=True)
class ChangeCard(RemoteVerb[str]):
    """Have a network card's layers do what these words say from now on, and pull its cable out or put it in.

    carrier   whether it is in; None: as it is

    Legal when built or running.  Returns the card's name.  ConfigError where it has no such layers.
    """

    card: str
    words: Words
    carrier: bool | None = None

    legal = frozenset({State.BUILT, State.RUNNING})
    name = "change a network card of"
    word = "network-set"

    def begin(self, guest: Guest) -> Callable[[], str]:
        return partial(self._change, guest)

    def _change(self, guest: Guest) -> str:
        card = guest.card(self.card)
        card.cable.change(parse_changes(self.words))
        if self.carrier is not None:
            card.cable.pull(not self.carrier)
        return card.name

    def request(self) -> dict[str, Any]:
        return {"name": self.card, "words": [list(pair) for pair in self.words], "carrier": self.carrier}

    @classmethod
    def readers(cls) -> dict[str, Callable[[Request], Self]]:
        return {"network-set": cls._read}

    @classmethod
    def _read(cls, request: Request) -> Self:
        pairs = argument(request, "words", list)
        if not all(
            isinstance(pair, list) and len(pair) == 2 and all(isinstance(each, str) for each in pair) for pair in pairs
        ):
            raise ConfigError("the request's words are not pairs of a word and its value")
        words = tuple((word, value) for word, value in pairs)
        if any(value.startswith("@") for _, value in words):
            raise ConfigError("a file is read by who asks")
        carrier = None if request.get("carrier") is None else argument(request, "carrier", bool)
        return cls(argument(request, "name", str), words_of(parse_changes(words)), carrier)


@dataclass(frozen=True)
class CaptureCard(RemoteVerb[str]):
    """Write what passes a network card into a pipe, as pcapng, until nobody reads it any more or the card is gone.

    pipe    its end to write to; none: write no more

    Legal when built or running.  Returns the card's name.  ConfigError where somebody looks at it already.
    """

    card: str
    pipe: list[int]

    legal = frozenset({State.BUILT, State.RUNNING})
    name = "look at the network of"
    word = "network-capture"

    def begin(self, guest: Guest) -> Callable[[], str]:
        return partial(self._capture, guest)

    def _capture(self, guest: Guest) -> str:
        card = guest.card(self.card)
        if self.pipe:
            card.cable.capture(self.pipe[0])
            self.pipe.clear()
        else:
            card.cable.end_capture()
        return card.name

    def request(self) -> dict[str, Any]:
        return {"name": self.card}

    @property
    def descriptors(self) -> Sequence[int]:
        return self.pipe

    @classmethod
    def readers(cls) -> dict[str, Callable[[Request], Self]]:
        return {"network-capture": cls._read}

    @classmethod
    def _read(cls, request: Request) -> Self:
        descriptors = request.get("descriptors", [])
        if len(descriptors) > 1:
            raise ConfigError("the request comes with more than one pipe to write to")
        return cls(argument(request, "name", str), descriptors)
