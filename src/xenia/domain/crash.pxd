# What a crashed domain leaves for the log.
from xenia.domain.domain cimport Domain

# Registers, code bytes, stack words and the page-table walks of rip and cr2, line by line.
cdef list crash_report(Domain *domain)
