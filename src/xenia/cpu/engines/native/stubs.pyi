"""The stubs of one virtual processor: where they share memory with Xenia, and the process that makes them."""

class Maker:
    """The process that makes stubs.  ConfigError where this host has none."""

    ...
    def __init__(self) -> None: ...
    def tell(self, descriptors: list[int]) -> None:
        """Of another virtual processor: machine memory, copies, area, requests, answers, and an event for each stub.

        ConfigError where the maker is no more."""
        ...

class Stubs:
    """Room for NR_STUBS of them, over that machine memory, made by that maker.

    hides_cpuid    the host's processor does, by faulting
    """
    def __init__(self, memory: int, maker: Maker, hides_cpuid: bool) -> None: ...
