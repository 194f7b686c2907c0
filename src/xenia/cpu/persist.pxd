# A vcpu's registers, saved and restored, whatever engine has them.  Precondition: it does not run.
from xenia.cpu.processor cimport Processor

cdef object context_save(Processor *processor)                  # a SavedContext
cdef int context_restore(Processor *processor, object saved) except -1
