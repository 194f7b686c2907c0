"""Where user code would run, by what it did: the policy on times that were recorded."""

class SpacePolicy:
    """Of one address space, on a host where a crossing takes so long (ns) in the stub."""
    def __init__(self, crossing: int = ...) -> None: ...
    @property
    def native(self) -> bool:
        """Whether the next burst runs in a stub."""
        ...
    def emulated(self, ns: int) -> None:
        """A burst ran on the emulated processor, for so long."""
        ...
    def in_stub(self, ns: int, foiled: int = 0) -> None:
        """One ran in a stub, which took so long of the host's processor with all that it does itself; then it left user
        mode, or came to what is emulated (1, or 8 for a store to code)."""
        ...
