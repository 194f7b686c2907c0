# A pool of pcpus and the host threads that they are.
from xenia.hypervisor.alarm cimport Alarms
from xenia.hypervisor.pool cimport Pool
from xenia.sched.credit cimport CreditPolicy
from xenia.sched.null cimport NullPolicy
from xenia.sched.policy cimport SchedVcpu


cdef class PcpuPool:
    cdef Pool pool
    cdef NullPolicy null
    cdef CreditPolicy credit
    cdef SchedVcpu **places         # the null policy's
    cdef Alarms alarms
    cdef readonly list names        # of its pcpus' threads  # type: list[str]
    cdef bint confine
    cdef object failure             # of a thread
    cdef object changing
    cdef int users
    cdef list threads
    # Its threads run: from the first who holds it to the last who drops it.  OSError where the host gives none.
    cdef hold(self)
    cdef drop(self)
    cdef begin(self)
    cdef end(self)
