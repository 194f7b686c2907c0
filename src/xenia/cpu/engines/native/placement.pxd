# Where on the host a vcpu's thread and its stubs run: see placement.pyx.
from libc.stdint cimport int64_t
from xenia.cpu.engines.native.native cimport Native
from xenia.cpu.engines.native.stub cimport Stub

# Before it is entered: this thread and the stub's are where they shall be, once orders are carried out.
cdef void follow(Native *native, Stub *stub) noexcept nogil
# This thread may run on any of the host's processors again.
cdef void roam(Native *native) noexcept nogil
# What a crossing takes of the host's processor where that stub runs, ns; NULL: where one would.  And the first stub is
# asked for it, which is ready; it may not be any more afterwards.
cdef int64_t crossing(const Native *native, const Stub *stub) noexcept nogil
cdef void measure_crossings(Native *native, Stub *stub) noexcept nogil
