# Which frames may be executed natively where the host's processor does not hide CPUID: see executable.pyx.
from libc.stdint cimport uint32_t, uint64_t
from xenia.cpu.engines.native.mapping cimport Found, Mapping, Unwatched
from xenia.cpu.engines.native.stub cimport Stub

cdef enum:                  # Mapping.looked
    LOOKED_NOT              # nor is it watched for that
    LOOKED_CLEAN            # no CPUID can be executed there, or in the copy that it has
    LOOKED_TAINTED


# With the mapping's lock held, on the processor's own thread: the page that is wanted so, and those around it, are
# looked at where they may be executed.  False: first these are to be watched, and what was taken from stubs has to be
# gone.
cdef bint executable_look(Mapping *mapping, Stub *stub, const Found *found, uint32_t wanted, uint32_t access,
                          Unwatched *unwatched) noexcept nogil
# Without the lock: all know of it when they store there.  What others asked of this processor is done as well.
cdef void executable_watch(Mapping *mapping, const Unwatched *unwatched) noexcept nogil
# Whether the frame may be mapped executable.
cdef bint executable_is(const Mapping *mapping, const Found *found, uint64_t mfn) noexcept nogil
# Whether it may by now, and was mapped there before that was known.
cdef bint executable_since(const Mapping *mapping, const Found *found, uint32_t index, uint64_t mfn) noexcept nogil
# The frame is written to, or may be: it is mapped executable nowhere, once orders are carried out.  On any thread;
# whether it was looked at.
cdef bint executable_forget(Mapping *mapping, uint64_t mfn) noexcept nogil
# The same with the lock held.
cdef void executable_drop(Mapping *mapping, uint64_t mfn) noexcept nogil
