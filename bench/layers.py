"""What a card's layers cost, a frame: `python bench/layers.py`.  Nanoseconds, the best of some rounds."""

from __future__ import annotations

from collections.abc import Callable

from xenia.net.layer import Layer
from xenia.net.layers.capture import Capture
from xenia.net.layers.guard import Guard
from xenia.net.layers.stack import build
from xenia.net.layers.words import parse_layers
from xenia.net.port import Port
from xenia.testing.net import Behind, Card

MAC = "00:16:3e:00:00:01"
HEAD = bytes.fromhex("525400000002 00163e000001 0800 4500 05dc 0000 4000 4006 0000 0a00020f c0000201")
FRAME = (HEAD + bytes.fromhex("c3500050 00000000 00000000 5010 ffff 0000 0000")).ljust(1514, b"x")
BACK = bytes.fromhex("00163e000001 525400000002 0800 4500 05dc 0000 4000 4006 0000 c0000201 0a00020f").ljust(1514, b"x")
ADDRESSES, RESERVED = ["10.0.2.15", "fd00::15"], ["10.0.2.2", "10.0.2.3", "fd00::2"]


def cost(port: Port, batch: int) -> float:
    """Of sending a frame there."""
    card = Card(port)
    best = min(card.measure(100000 // batch, *[FRAME] * batch) for _ in range(9))
    card.close()
    port.close()
    return best


def cost_back(make: Callable[[Port], Port], batch: int) -> float:
    """Of a frame that comes from below."""
    below = Behind()
    card = Card(port := make(below))
    card.deaf = True
    best = min(below.measure(100000 // batch, *[BACK] * batch) for _ in range(9))
    card.close()
    port.close()
    return best


def stack(port: Port, *words: tuple[str, str]) -> Port:
    """A card's."""
    return build(parse_layers(words), port, mac=MAC, addresses=ADDRESSES, reserved=RESERVED)


def awake(port: Port) -> Port:
    """A stack that none of those that sleep in wait for `xenia net set` is in."""
    return Capture(Guard(port, MAC, ADDRESSES, RESERVED), "card", MAC)


def main() -> None:
    """Print a table: a stack, and its cost outwards and inwards with batches of 1, 8 and 64 frames."""
    kinds: dict[str, Callable[[Port], Port]] = {
        "no layer": lambda port: port,
        "a layer that does nothing": Layer,
        "capture (off) and guard": awake,
        "and filters that sleep": stack,
        "capture (off), spoof=allow": lambda port: stack(port, ("spoof", "allow")),
        "and firewall=in:allow:tcp:22;in:deny": lambda port: stack(port, ("firewall", "in:allow:tcp:22;in:deny")),
        "and loss=0.001%": lambda port: stack(port, ("loss", "0.001%")),
    }
    for name, make in kinds.items():
        out = (cost(make(Port()), batch) for batch in (1, 8, 64))
        back = (cost_back(make, batch) for batch in (1, 8, 64))
        print(f"{name:40}", *(f"{each:8.1f}" for each in (*out, *back)))


if __name__ == "__main__":
    main()
