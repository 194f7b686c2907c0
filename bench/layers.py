"""What a card's layers cost, a frame: `python bench/layers.py`.  Nanoseconds, the best of some rounds."""

from __future__ import annotations

from collections.abc import Callable

from xenia.net.layer import Layer
from xenia.net.layers.stack import build
from xenia.net.layers.words import parse_layers
from xenia.net.port import Port
from xenia.testing.net import Card

MAC = "00:16:3e:00:00:01"
HEAD = bytes.fromhex("525400000002 00163e000001 0800 4500 05dc 0000 4000 4006 0000 0a00020f c0000201")
FRAME = (HEAD + bytes.fromhex("c3500050 00000000 00000000 5010 ffff 0000 0000")).ljust(1514, b"x")
ADDRESSES, RESERVED = ["10.0.2.15", "fd00::15"], ["10.0.2.2", "10.0.2.3", "fd00::2"]


def cost(port: Port, batch: int) -> float:
    """Of sending a frame there."""
    card = Card(port)
    best = min(card.measure(100000 // batch, *[FRAME] * batch) for _ in range(9))
    card.close()
    port.close()
    return best


def stack(*words: tuple[str, str]) -> Port:
    """A card's, over nothing."""
    return build(parse_layers(words), Port(), mac=MAC, addresses=ADDRESSES, reserved=RESERVED)


def main() -> None:
    """Print a table: a stack, and its cost with batches of 1, 8 and 64 frames."""
    kinds: dict[str, Callable[[], Port]] = {
        "no layer": Port,
        "a layer that does nothing": lambda: Layer(Port()),
        "capture (off) and guard": stack,
        "capture (off), spoof=allow": lambda: stack(("spoof", "allow")),
        "and firewall=in:allow:tcp:22;in:deny": lambda: stack(("firewall", "in:allow:tcp:22;in:deny")),
        "and loss=0.001%": lambda: stack(("loss", "0.001%")),
    }
    for name, make in kinds.items():
        print(f"{name:40}", *(f"{cost(make(), batch):8.1f}" for batch in (1, 8, 64)))


if __name__ == "__main__":
    main()
