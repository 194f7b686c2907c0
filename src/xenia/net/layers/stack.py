"""A card's stack of layers: capture, guard, what the operator asked for, and the port of the network below."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from xenia.errors import ConfigError
from xenia.net.layer import Layer
from xenia.net.layers.capture import Capture
from xenia.net.layers.guard import Guard
from xenia.net.layers.words import GuardSpec, LayerSpec
from xenia.net.port import Port


def build(
    specs: Iterable[LayerSpec],
    port: Port,
    *,
    mac: str,
    addresses: Iterable[str] = (),
    reserved: Iterable[str] = (),
) -> Capture:
    """What a card is to be at, instead of `port`, which is the stack's to close from now on.

    mac         the card's
    addresses   those that it may send under, where they are known; `guard_of` takes more later
    reserved    those of the network itself, which it may not have

    ConfigError; then the port is the caller's still.
    """
    specs = tuple(specs)
    below = port
    for spec in reversed(specs):
        if not isinstance(spec, GuardSpec):
            below = _layer(spec, below)
    on = all(spec.on for spec in specs if isinstance(spec, GuardSpec))
    return Capture(Guard(below, mac, addresses, reserved, on))


def layers_of(port: Port) -> Iterator[Layer]:
    """The layers from `port` down."""
    while isinstance(port, Layer):
        yield port
        port = port.lower


def guard_of(port: Port) -> Guard:
    """The guard among the layers from `port` down.  Precondition: there is one."""
    return next(layer for layer in layers_of(port) if isinstance(layer, Guard))


def counts_of(port: Port) -> list[dict[str, Any]]:
    """What the layers have done, from the top down, as plain data."""
    return [layer.counts() for layer in layers_of(port)]


def _layer(spec: LayerSpec, below: Port) -> Layer:
    raise ConfigError(f"no {type(spec).__name__} yet")
