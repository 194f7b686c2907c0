"""What runs the code of one vcpu: the base of every engine, and how one is made."""

from xenia.machine.machine cimport MachineMemory

from xenia.cpu.capabilities import Capabilities
from xenia.cpu.registry import engine_kind


cdef class Engine:
    """One processor over a machine's memory."""

    def stale_translations(self) -> list[tuple[int, int, str, bool]]:
        """Cached translations that the page tables do not give: (va, machine address, what differs, writable).

        None where the engine has no cache of them, or cannot tell (Capabilities.shows_translations).
        """
        return []

    @property
    def statistics(self) -> dict[str, int]:
        """Counts since the engine was made."""
        return {"flush_all": self.processor.nr_flush_all, "flush_page": self.processor.nr_flush_page}


cdef Engine engine_new(str name, MachineMemory memory):
    kind = engine_kind(name)
    capabilities: Capabilities = kind.capabilities
    cdef Engine engine = kind.load().new(memory)
    engine.capabilities = capabilities
    return engine
