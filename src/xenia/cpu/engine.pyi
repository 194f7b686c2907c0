"""What runs the code of one vcpu: the base of every engine, and how one is made."""

from xenia.cpu.capabilities import Capabilities
from xenia.machine.machine import MachineMemory

class Engine:
    """One processor over a machine's memory."""
    @property
    def memory(self) -> MachineMemory: ...
    @property
    def capabilities(self) -> Capabilities: ...
    def stale_translations(self) -> list[tuple[int, int, str, bool]]:
        """Cached translations that the page tables do not give: (va, machine address, what differs, writable).

        None where the engine has no cache of them, or cannot tell (Capabilities.shows_translations).
        """
        ...
    @property
    def statistics(self) -> dict[str, int]:
        """Counts since the engine was made."""
        ...
