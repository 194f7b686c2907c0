# User code that is about to run: see user.pyx.
from libc.stdint cimport uint64_t
from xenia.cpu.engines.native.native cimport Native

# The vcpu is in user mode.  A Verdict, with the vcpu in kernel mode, or left to the emulated processor.
cdef int user_code(Native *native) noexcept nogil
# This thread, to these of the host's first 64 processors: 0, or -1.
cdef int run_on(uint64_t cpus) noexcept nogil
