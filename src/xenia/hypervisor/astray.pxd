# What a processor has cached that a domain must not have: see astray.pyx.
from xenia.cpu.engine cimport Engine
from xenia.domain.domain cimport Domain

cdef list astray(Domain *domain, Engine engine)
