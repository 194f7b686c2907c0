from xenia.testing.interpreter cimport Interpreter

# The instruction at rip.  True where the program goes on; False: it ends with the engine's `exit`.
cdef bint step(Interpreter *engine) noexcept nogil
