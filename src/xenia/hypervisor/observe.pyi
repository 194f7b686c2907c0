"""What a domain does, as those see it who asked to be told: see domain/observers."""

from xenia.hypervisor.domain import DomainHandle

def hypercall_numbers() -> dict[str, int]:
    """The hypercalls that are answered, by name."""
    ...

class Watch:
    """A domain that is observed, for as long as this is there and was not ended.

    wake_fd   what is readable when there is something to `take`, after `sleep`
    """
    @property
    def wake_fd(self) -> int: ...
    def __init__(self, handle: DomainHandle) -> None: ...
    def watch(self, hypercalls: int, ports: list[int] | None, levels: int) -> None:
        """Have that told from now on: a bit for each number of a hypercall, ports (None: all), a bit for each level.
        Nothing of it: the domain goes as fast as ever."""
        ...
    def take(self) -> list[tuple[int, int, int, int, tuple[int, ...], int | None]]:
        """The oldest that were not taken yet, at most 4096: kind, time in ns, vcpu, number, arguments, result (None:
        the call is made again, or has none).  One thread at a time."""
        ...
    def sleep(self) -> bool:
        """Have `wake_fd` made readable by the next; False where there is one already."""
        ...
    def wake(self) -> None:
        """Make `wake_fd` readable."""
        ...
    def awake(self) -> None:
        """It was."""
        ...
    @property
    def lost(self) -> int:
        """How many there was no room for, because nobody took them in time."""
        ...
