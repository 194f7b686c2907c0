"""How an operator names layers: `delay=20ms`, `loss=1%`, `firewall=in:allow:tcp:22;in:deny`, in order from the card on.

What is parsed is plain data. `build` (stack.py) makes layers of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from xenia.errors import ConfigError
from xenia.net.layers.quantities import parse_bytes, parse_chance, parse_count, parse_rate, parse_time
from xenia.net.layers.rules import Rules, parse_rules

Words = tuple[tuple[str, str], ...]

SNAPLEN = 262144  # more than any frame has
MOST_QUEUE = 64 << 20


@dataclass(frozen=True, slots=True)
class GuardSpec:
    """`spoof=allow`, or `deny`."""

    on: bool
    words: Words = ()


@dataclass(frozen=True, slots=True)
class CaptureSpec:
    """`capture=FILE`: into that file, so many bytes of each frame, until it has `limit` bytes."""

    file: str
    snaplen: int = SNAPLEN
    limit: int | None = None
    words: Words = ()


@dataclass(frozen=True, slots=True)
class FirewallSpec:
    """`firewall=RULE;RULE` or `firewall=@FILE`."""

    rules: Rules
    words: Words = ()


@dataclass(frozen=True, slots=True)
class Shape:
    """What becomes of the frames of one direction.

    delay, jitter    ns; frames keep their order; `normal`: jitter is the deviation of a normal distribution, else all
                     of -jitter to jitter are as likely
    loss, loss_run   share of the frames, and how many are lost in a row in the mean
    reorder          share of those that overtake what is delayed
    duplicate        share of those that come twice
    rate             bits a second, 0: any; `burst` bytes may go at once
    queue            bytes that wait at the most; 0: as many as go in 100 ms
    """

    delay: int = 0
    jitter: int = 0
    normal: bool = False
    loss: float = 0.0
    loss_run: float = 1.0
    reorder: float = 0.0
    duplicate: float = 0.0
    rate: int = 0
    burst: int = 64 << 10
    queue: int = 0


@dataclass(frozen=True, slots=True)
class NetemSpec:
    """`delay=`, `jitter=`, `loss=`, `reorder=`, `duplicate=`, `limit=`, `seed=`, as they stand together."""

    inward: Shape = Shape()
    outward: Shape = Shape()
    seed: int | None = None
    words: Words = ()


@dataclass(frozen=True)
class OffSpec:
    """`WORD=off`: that of a layer that is there no more."""

    words: Words


LayerSpec = GuardSpec | CaptureSpec | FirewallSpec | NetemSpec


def parse_layers(pairs: Iterable[tuple[str, str]]) -> tuple[LayerSpec, ...]:
    """The layers that these words ask for, from the card on.  A firewall's file is read.  ConfigError."""
    specs: list[LayerSpec] = []
    for word, value in pairs:
        if word not in WORDS:
            raise ConfigError(f"'{word}' names no layer of a network; {', '.join(WORDS)} do")
        try:
            if word in _SHAPES or word == "seed":
                _shape(specs, word, value)
            else:
                specs.append(_ALONE[word](word, value))
        except ConfigError as error:
            said = "" if word == "firewall" or value in str(error) else value  # nothing is said twice
            raise ConfigError(f"in '{word}={said}': {error}") from None
    if sum(isinstance(spec, GuardSpec) for spec in specs) > 1:
        raise ConfigError("'spoof' is given twice")
    for spec in specs:
        if isinstance(spec, NetemSpec):
            try:
                _check(spec)
            except ConfigError as error:
                said = ",".join(map("=".join, spec.words))
                raise ConfigError(f"in '{said}': {error}") from None
    return tuple(specs)


def parse_changes(pairs: Iterable[tuple[str, str]]) -> tuple[LayerSpec | OffSpec, ...]:
    """What these words change of a card that is plugged in: `parse_layers`, and `WORD=off`.  ConfigError."""
    said = tuple(pairs)
    off = tuple(pair for pair in said if pair[1] == "off")
    for word, _ in off:
        if word in ("spoof", "capture"):
            raise ConfigError(f"'{word}=off': {word}= is said when a card is plugged in, and stays")
        if word not in WORDS:
            raise ConfigError(f"'{word}' names no layer of a network; {', '.join(WORDS)} do")
        if sum(word == other for other, _ in said) > 1:
            raise ConfigError(f"'{word}=off' and another {word}= are said: which is it?")
    return (*parse_layers(pair for pair in said if pair[1] != "off"), *(OffSpec((pair,)) for pair in off))


def words_of(specs: Iterable[LayerSpec | OffSpec]) -> Words:
    """What `parse_layers` reads as the same again, on a host without the files."""
    return tuple(pair for spec in specs for pair in spec.words)


def files_of(specs: Iterable[LayerSpec]) -> tuple[str, ...]:
    """The files that are written to, which `build` is given a descriptor of, or makes."""
    return tuple(spec.file for spec in specs if isinstance(spec, CaptureSpec))


# Words that are a layer


def _guard(word: str, value: str) -> GuardSpec:
    if value not in ("allow", "deny"):
        raise ConfigError("spoof is allow or deny")
    return GuardSpec(value == "deny", ((word, value),))


def _capture(word: str, value: str) -> CaptureSpec:
    file, *parts = cut(value, ":")
    options = _options(parts, {"snaplen": parse_bytes, "limit": parse_bytes})
    if not plain(file):
        raise ConfigError("into which file? capture=FILE")
    spec = CaptureSpec(plain(file), **options, words=((word, value),))
    if not 64 <= spec.snaplen <= SNAPLEN:
        raise ConfigError(f"snaplen is from 64 to {SNAPLEN} bytes")
    return spec


def _firewall(word: str, value: str) -> FirewallSpec:
    lines = value.split(";")
    if value.startswith("@"):
        try:
            with open(value[1:], encoding="utf-8") as file:
                lines = file.read(1 << 20).splitlines()
        except (OSError, ValueError) as error:
            raise ConfigError(f"cannot read the rules: {getattr(error, 'strerror', None) or error}") from None
    rules = parse_rules(lines)
    if not rules.rules:
        raise ConfigError("there is no rule in it")
    text = ";".join(filter(None, (line.split("#")[0].strip() for line in lines)))
    return FirewallSpec(rules, ((word, text),))


_ALONE: Mapping[str, Callable[[str, str], LayerSpec]] = {
    "spoof": _guard, "capture": _capture, "firewall": _firewall
}  # fmt: skip


# Words that are a part of one


def _delay(value: str, parts: list[str]) -> dict[str, Any]:
    return {"delay": parse_time(value), **_options(parts, {})}


def _jitter(value: str, parts: list[str]) -> dict[str, Any]:
    if parts not in ([], ["normal"], ["uniform"]):
        raise ConfigError("after a jitter comes nothing but normal or uniform")
    return {"jitter": parse_time(value), "normal": parts == ["normal"]}


def _loss(value: str, parts: list[str]) -> dict[str, Any]:
    run = _options(parts, {"run": parse_count}).get("run", 1)
    loss = parse_chance(value)
    if not 1 <= run <= 10000 or (run > 1 and loss * (run + 1) > run):
        raise ConfigError(f"so much is not lost in runs of {run}")
    return {"loss": loss, "loss_run": float(run)}


def _reorder(value: str, parts: list[str]) -> dict[str, Any]:
    return {"reorder": parse_chance(value), **_options(parts, {})}


def _duplicate(value: str, parts: list[str]) -> dict[str, Any]:
    return {"duplicate": parse_chance(value), **_options(parts, {})}


def _limit(value: str, parts: list[str]) -> dict[str, Any]:
    options = {"rate": parse_rate(value), **_options(parts, {"burst": parse_bytes, "queue": parse_bytes})}
    if not 0 <= options.get("burst", 0) <= MOST_QUEUE or not 65536 <= options.get("queue", 65536) <= MOST_QUEUE:
        raise ConfigError("a burst is up to 64M, a queue from 64K to 64M")
    return options


_SHAPES: Mapping[str, Callable[[str, list[str]], dict[str, Any]]] = {
    "delay": _delay, "jitter": _jitter, "loss": _loss, "reorder": _reorder, "duplicate": _duplicate, "limit": _limit
}  # fmt: skip

WORDS: Mapping[str, str] = {
    "spoof": "`allow`: the guest may send under any address, be a router, a DHCP server; `deny` (default): it may not",
    "firewall": "rules with semicolons between them, or @FILE with one on each line",
    "delay": "so much later, such as 20ms",
    "jitter": "and up to so much earlier or later; `:normal`: normally distributed with that deviation",
    "loss": "that share of the frames is lost, such as 1%; `:run=5`: so many in a row in the mean",
    "reorder": "that share of the frames is not delayed, and so overtakes others",
    "duplicate": "that share of the frames comes twice",
    "limit": "bits a second such as 10Mb/s; `:burst=` bytes go at once, `:queue=` bytes wait at the most",
    "seed": "a number: what is lost is lost again in the next run with the same one",
    "capture": "what comes by there goes to that file, as pcapng; `:snaplen=` bytes of each, `:limit=` bytes in all",
}


def _shape(specs: list[LayerSpec], word: str, value: str) -> None:
    """Add it to the last layer, where that is of the kind and has not this word yet, or begin one."""
    first, *rest = cut(value, ":")
    direction = first if first in ("in", "out") and rest else "any"
    if direction != "any":
        first, *rest = rest
    found = {"seed": parse_count(first)} if word == "seed" else _SHAPES[word](first, rest)
    ways = {"in": ("inward",), "out": ("outward",), "any": ("inward", "outward")}[direction]
    last = specs[-1] if specs else None
    if not isinstance(last, NetemSpec) or any(_has(last, word, way) for way in ways):
        last = NetemSpec()
        specs.append(last)
    words = (*last.words, (word, value))
    if word == "seed":
        if direction != "any" or rest:
            raise ConfigError("a seed is a number, for both directions")
        specs[-1] = replace(last, **found, words=words)
    else:
        shapes = {way: replace(getattr(last, way), **found) for way in ways}
        specs[-1] = replace(last, **shapes, words=words)


def _has(spec: NetemSpec, word: str, way: str) -> bool:
    other = {"inward": "out:", "outward": "in:"}[way]
    return any(name == word and not value.startswith(other) for name, value in spec.words)


def _check(spec: NetemSpec) -> None:
    for shape in (spec.inward, spec.outward):
        if shape.jitter and not shape.delay:
            raise ConfigError("jitter= wants a delay= to stand with it")
        if shape.jitter > shape.delay and not shape.normal:
            raise ConfigError("jitter= is more than the delay= that stands with it")
        if shape.reorder and not shape.delay:
            raise ConfigError("reorder= wants a delay= to stand with it: who is not delayed overtakes")
    if spec.seed is not None and len(spec.words) == 1:
        raise ConfigError("seed= stands with what is left to chance: loss=, jitter=, reorder=, duplicate=")


def _options(parts: Iterable[str], readers: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in parts:
        name, _, value = part.partition("=")
        if name not in readers or name in found:
            raise ConfigError(f"'{part}' has no place there")
        found[name] = readers[name](value)
    return found


def cut(text: str, separator: str) -> list[str]:
    """The parts between separators that no backslash makes ordinary; backslashes stay."""
    parts, escaped = [""], False
    for character in text:
        if character == separator and not escaped:
            parts.append("")
            continue
        parts[-1] += character
        escaped = character == "\\" and not escaped
    return parts


def plain(text: str) -> str:
    """A part as it is meant, without backslashes."""
    meant, escaped = "", False
    for character in text:
        escaped = character == "\\" and not escaped
        meant += "" if escaped else character
    return meant


def table() -> str:
    """What docs/networks.md says of each word."""
    lines = ["| Word | |", "|---|---|", *(f"| `{word}=` | {meaning} |" for word, meaning in WORDS.items())]
    return "\n".join(lines) + "\n"
