"""What a debugger asks of a domain: where its vcpus are to stop, which of them go on and how, and why they stopped.

Theory of operation.  A processor that comes to where it is to stop tells its debugger on the vcpu's own thread
(EXIT_DEBUG), which notes why, holds the vcpu (`Seat.held`: it sleeps, whoever wakes it) and writes to an eventfd.  The
others run on until whoever reads that pauses the domain.  From then on all stand, and what they have can be looked at.
When the domain is unpaused, those go on that are not held.
"""

from xenia.hypervisor.domain import DomainHandle

MOST_STOPS: int
CODE: int
WRITE: int
READ: int
STEPPED: int
BREAKPOINT: int
WATCHPOINT: int

class Debugger:
    """The debugger of a domain, of which there is one at most."""
    @property
    def descriptor(self) -> int: ...
    def __init__(self, handle: DomainHandle) -> None:
        """ConfigError where it has one already, or its engine cannot stop where it is told.

        Precondition: the domain is paused, as for all but `taken`.
        """
        ...
    def set_stops(self, stops: list[tuple[int, int, int]]) -> None:
        """Stop there and nowhere else: of each CODE, WRITE or READ (or both, added), the address, and of data the
        length in bytes.  MOST_STOPS at the most."""
        ...
    def let(self, number: int, *, runs: bool, steps: bool = False) -> None:
        """When the domain is unpaused, the vcpu stays, goes on, or does one instruction, its events held back."""
        ...
    def is_up(self, number: int) -> bool:
        """Whether the guest has brought it up."""
        ...
    def taken(self) -> list[tuple[int, int, int]]:
        """Which vcpus have stopped since it was last asked: number, why (STEPPED, BREAKPOINT, WATCHPOINT), address."""
        ...
    def detach(self) -> None:
        """The guest is as if there had never been one, and all its vcpus go on when it is unpaused."""
        ...
