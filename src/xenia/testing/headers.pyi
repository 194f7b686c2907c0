"""What is parsed of a frame, for tests: the bytes that may be looked at end where memory ends."""

class Parsed:
    """A frame's Headers (net/parse.pxd); `flow` is its hash."""

    ...
    kind: int
    flags: int
    protocol: int
    tags: tuple[int, ...]
    ethertype: int
    network: int
    transport: int
    payload: int
    end: int
    source_port: int
    target_port: int
    tcp_flags: int
    flow: int

class Cliff:
    """Two pages, of which the second cannot be looked at."""
    def __init__(self) -> None: ...
    def parse(self, data: bytes, seed: int = 0) -> Parsed:
        """What is parsed of that frame, of which the first HEAD bytes end at the cliff, and the rest is nowhere."""
        ...
