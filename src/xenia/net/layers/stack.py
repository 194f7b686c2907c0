"""A card's stack of layers: capture, guard, what the operator asked for, and the port of the network below."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from xenia.errors import ConfigError, HypervisorBug
from xenia.net.layer import Layer
from xenia.net.layers.capture import Capture
from xenia.net.layers.claims import Claims
from xenia.net.layers.firewall import Firewall
from xenia.net.layers.guard import Guard
from xenia.net.layers.netem import Netem
from xenia.net.layers.rules import Rules
from xenia.net.layers.words import (
    CaptureSpec,
    FirewallSpec,
    GuardSpec,
    LayerSpec,
    NetemSpec,
    OffSpec,
    parse_layers,
)
from xenia.net.port import Port

L = TypeVar("L", bound=Layer)

_NO_RULES = Rules((), stateful=False)


def build(
    specs: Iterable[LayerSpec],
    port: Port,
    *,
    mac: str,
    name: str = "card",
    addresses: Iterable[str] = (),
    reserved: Iterable[str] = (),
    claims: Claims | None = None,
    opened: Sequence[int] = (),
) -> Capture:
    """What a card is to be at, instead of `port`, which is the stack's to close from now on.

    A firewall and a netem that nobody asked for are there too, asleep behind those that were, for `change` to wake.

    mac, name   the card's
    addresses   those that it may send under, where they are known; `guard_of` takes more later
    reserved    those of the network itself, which it may not have
    claims      which IPv6 addresses the network's cards have, where that is known
    opened      a descriptor for each of `files_of(specs)`, the stack's from now on; none: they are made here

    ConfigError; then the port is the caller's still.
    """
    specs, files = tuple(specs), list(opened)
    kinds = {type(spec) for spec in specs}
    below = port
    if NetemSpec not in kinds:
        below = Netem(below, NetemSpec())
    if FirewallSpec not in kinds:
        below = Firewall(below, _NO_RULES)
    for spec in reversed(specs):
        if not isinstance(spec, GuardSpec):
            below = _layer(spec, below, mac, name, files)
    on = all(spec.on for spec in specs if isinstance(spec, GuardSpec))
    return Capture(Guard(below, mac, addresses, reserved, on, claims=claims), name, mac)


def layers_of(port: Port) -> Iterator[Layer]:
    """The layers from `port` down, but for those that are asleep."""
    return (layer for layer in _all_layers(port) if not layer.asleep)


def _all_layers(port: Port) -> Iterator[Layer]:
    while isinstance(port, Layer):
        yield port
        port = port.lower


def guard_of(port: Port) -> Guard:
    """The guard among the layers from `port` down.  Precondition: there is one."""
    return next(layer for layer in layers_of(port) if isinstance(layer, Guard))


def change(port: Port, specs: Iterable[LayerSpec | OffSpec]) -> None:
    """Have the layers from `port` down do what `specs` say from now on, the first of a kind what the first says.

    What no spec is about stays as it is.  A layer that is told nothing more sleeps; what it holds back goes first.
    ConfigError, with nothing changed: there is no such layer, its kind does not change, or the host gives no thread
    to wake a netem (of several, those before it have changed).
    """
    specs, left = tuple(specs), list(_all_layers(port))
    off = {word for spec in specs if isinstance(spec, OffSpec) for word, _ in spec.words}
    anew = any(isinstance(spec, NetemSpec) for spec in specs)
    found: list[Callable[[], None]] = []
    for spec in specs:
        match spec:
            case NetemSpec():
                netem = _next(left, Netem, spec)
                found.insert(0, partial(netem.configure, spec))
            case FirewallSpec():
                firewall = _next(left, Firewall, spec)
                found.append(partial(firewall.configure, spec.rules))
            case OffSpec():
                pass
            case _:
                raise ConfigError(f"{spec.words[0][0]}= is said when a card is plugged in, and stays")
    for layer in left if off else ():
        match layer:
            case Firewall() if "firewall" in off:
                found.append(partial(layer.configure, _NO_RULES))
            case Netem() if not anew and off & {word for word, _ in layer.spec.words}:
                remain = [pair for pair in layer.spec.words if pair[0] not in off]
                now = next((spec for spec in parse_layers(remain) if isinstance(spec, NetemSpec)), NetemSpec())
                found.insert(0, partial(layer.configure, now))
    try:
        for configure in found:
            configure()
    except OSError as error:
        raise ConfigError(f"the filters cannot be changed: {error.strerror}") from None


def _next(left: list[Layer], kind: type[L], spec: LayerSpec) -> L:
    """The next layer of that kind, which is left no more."""
    for layer in left:
        if isinstance(layer, kind):
            left.remove(layer)
            return layer
    words = ", ".join(f"{word}=" for word, _ in spec.words)
    raise ConfigError(
        f"the card has no layer left for {words}: it has one of a kind, or those that it was plugged in with"
    )


def counts_of(port: Port) -> list[dict[str, Any]]:
    """What the layers have done, from the top down, as plain data."""
    return [layer.counts() for layer in layers_of(port)]


def _layer(spec: LayerSpec, below: Port, mac: str, name: str, files: list[int]) -> Layer:
    if isinstance(spec, CaptureSpec):
        layer = Capture(below, name, mac)
        layer.start(files.pop() if files else made(spec.file), spec.snaplen, spec.limit)
        return layer
    if isinstance(spec, NetemSpec):
        return Netem(below, spec)
    if isinstance(spec, FirewallSpec):
        return Firewall(below, spec.rules)
    raise HypervisorBug(f"a {type(spec).__name__} is no layer between the guard and the link")


def made(file: str) -> int:
    """A descriptor of that file for a capture, new or empty.  ConfigError."""
    try:
        return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot capture into {file}: {error.strerror}") from None
