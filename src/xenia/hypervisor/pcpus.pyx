"""Host threads for the pcpus of a pool: they come with the first domain that runs there, and go with the last.

A machine's pool has one for each processor that the host lets it use, and the credit policy.  Where a machine has none,
each domain has a pool of its own with a pcpu for each of its vcpus and the null policy, and the host's scheduler shares
the processors out.
"""

import os
import threading
from functools import partial

from libc.stdlib cimport calloc, free

from xenia.hypervisor.pcpu cimport pcpu_run
from xenia.hypervisor.pool cimport pool_close, pool_create, pool_end
from xenia.sched.credit cimport credit_free, credit_init
from xenia.sched.null cimport null_init
from xenia.sched.policy cimport Policy, SchedVcpu

from xenia.jail.jail import confine_in_any_process
from xenia.jail.kinds import Kind
from xenia.machine.thread import HostThread


cdef class PcpuPool:
    """A pcpu for each of `names`, which are those of their threads, under the policy "credit2" or "null"; `spare`: the
    host has more processors."""

    def __cinit__(self, alarms: object, str policy, list names, bint confine,
                  bint spare):
        cdef int nr = len(names), rc
        cdef Policy *chosen
        self.alarms = alarms
        self.names = names
        self.confine = confine
        self.changing = threading.Lock()
        self.threads = []
        if policy == "credit2":
            if not credit_init(&self.credit, nr, spare):
                raise MemoryError
            chosen = &self.credit.ops
        else:
            self.places = <SchedVcpu **>calloc(nr, sizeof(SchedVcpu *))
            if self.places == NULL:
                raise MemoryError
            null_init(&self.null, self.places, nr)
            chosen = &self.null.ops
        rc = pool_create(&self.pool, chosen, nr)
        if rc:
            raise OSError(rc, os.strerror(rc))

    def __dealloc__(self):
        pool_close(&self.pool)
        credit_free(&self.credit)
        free(self.places)

    cdef hold(self):
        with self.changing:
            if self.users == 0:
                self.begin()
            self.users += 1

    cdef drop(self):
        with self.changing:
            self.users -= 1
            if self.users == 0:
                self.end()

    cdef begin(self):
        cdef int i
        self.pool.closing = self.pool.broken = False
        self.failure = None
        self.threads = [HostThread(partial(self._run, i), name, None) for i, name in enumerate(self.names)]
        try:
            for i, thread in enumerate(self.threads):
                self.alarms.watch(&self.pool.pcpus[i].alarm)
                thread.start()
        except BaseException:
            self.end()
            raise

    cdef end(self):
        cdef int i
        with nogil:
            pool_end(&self.pool, False)
        for thread in self.threads:
            thread.end()
        with nogil:
            for i in range(<int>self.pool.nr_pcpus):
                self.alarms.unwatch(&self.pool.pcpus[i].alarm)
        self.threads = []
        self.alarms.settle()

    def _run(self, int number) -> None:
        try:
            if self.confine:
                confine_in_any_process(Kind.VCPU)
            with nogil:
                pcpu_run(&self.pool.pcpus[number])
        except BaseException as failure:
            self.failure = failure
            with nogil:
                pool_end(&self.pool, True)
