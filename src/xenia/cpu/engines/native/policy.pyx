"""Where user code would run, by what it did: the policy on times that were recorded."""

from libc.stdint cimport int64_t


cdef class SpacePolicy:
    """Of one address space, on a host where a crossing takes so long (ns) in the stub."""

    cdef Bursts bursts
    cdef int64_t time       # that the stub has had of a processor, ns
    cdef int64_t crossing

    def __init__(self, int64_t crossing=CROSSING) -> None:
        bursts_begin(&self.bursts)
        self.crossing = crossing

    @property
    def native(self) -> bool:
        """Whether the next burst runs in a stub."""
        return self.bursts.native

    def emulated(self, int64_t ns) -> None:
        """A burst ran on the emulated processor, for so long."""
        bursts_count(&self.bursts, ns, self.crossing)

    def in_stub(self, int64_t ns, int foiled=0) -> None:
        """One ran in a stub, which took so long of the host's processor with all that it does itself; then it left user
        mode, or came to what is emulated (1, or 8 for a store to code)."""
        self.time += ns
        if bursts_count_native(&self.bursts, foiled):
            bursts_measure(&self.bursts, self.time, self.crossing)
