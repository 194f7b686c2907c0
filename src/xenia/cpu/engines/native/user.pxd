# User code that is about to run: see user.pyx.
from xenia.cpu.engines.native.native cimport Native

# The vcpu is in user mode.  A Verdict, with the vcpu in kernel mode, or left to the emulated processor.
cdef int user_code(Native *native) noexcept nogil
