"""A machine's free frames, without a machine."""

from libc.stdint cimport uint64_t
from libc.string cimport memset

from xenia.machine.free_frames cimport (
    FreeFrames as State, free_frames_end, free_frames_init, free_frames_put, free_frames_take, free_frames_take_extent,
)


cdef class FreeFrames:
    """Frames from `start` to `end`, the first `low` of them handed out last."""

    cdef State state

    def __cinit__(self, start: int, end: int, low: int = 0):
        memset(&self.state, 0, sizeof(State))
        if not free_frames_init(&self.state, start, end, low):
            raise MemoryError

    def __dealloc__(self):
        free_frames_end(&self.state)

    @property
    def count(self) -> int:
        """How many there are."""
        return self.state.count

    def take(self) -> int:
        """One, or 0."""
        return free_frames_take(&self.state)

    def take_extent(self, order: int) -> int:
        """The first of 2^order in a row, or 0."""
        return free_frames_take_extent(&self.state, order)

    def put(self, mfn: int) -> None:
        """It is free again."""
        free_frames_put(&self.state, mfn)

    def fragment(self) -> None:
        """Take all, and give every second back."""
        cdef uint64_t mfn
        with nogil:
            while True:
                mfn = free_frames_take(&self.state)
                if mfn == 0:
                    break
            for mfn in range(self.state.low_end & ~<uint64_t>1, self.state.fresh_end, 2):
                if mfn >= self.state.low_end:
                    free_frames_put(&self.state, mfn)
