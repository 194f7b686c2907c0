# A pcpu: what a host thread is to vcpus.
from libc.stdint cimport uint32_t, uint64_t
from xenia.domain.domain cimport Domain, Vcpu
from xenia.hypervisor.alarm cimport Alarm
from xenia.machine.waiting cimport Waiting
from xenia.sched.policy cimport Policy, SchedDomain, SchedVcpu

cdef struct Seat:           # a vcpu's place on a pcpu
    SchedVcpu sched
    SchedDomain domain
    Vcpu *vcpu
    int (*check)(void *) noexcept nogil     # debug mode: called before each entry, non-zero stops the domain
    void *check_argument
    uint64_t now            # of its domain, when it was last looked at
    Seat *next

cdef struct Pcpu:
    Policy *policy          # who chooses
    uint32_t id             # as which the policy knows it
    uint64_t now            # ns of the host's clock, when it last looked round
    Seat *seats             # the vcpus that are run here; its own thread's, once it runs
    Vcpu *entered           # the last one that was
    int wake_fd             # eventfd that ends its wait
    Alarm alarm             # kicks it when a timer of a vcpu, or its slice, has run out
    uint64_t alarm_at       # what it is set to, in ns of alarm_of's domain; 0 off
    Seat *alarm_of
    Waiting waiting         # of when nothing runs
    uint64_t nr_entries
    uint64_t nr_idle

# 0 or an errno.
cdef int pcpu_create(Pcpu *pcpu, Policy *policy, uint32_t id) noexcept nogil
cdef void pcpu_close(Pcpu *pcpu) noexcept nogil
# Before it runs.  False: its policy has no place for one more.
cdef bint pcpu_seat(Pcpu *pcpu, Seat *seat, Vcpu *vcpu) noexcept nogil
# What its thread does, until none of its vcpus has anything left to do: their domains have shut down, or are to stop.
cdef void pcpu_run(Pcpu *pcpu) noexcept nogil
# From any thread: have their pcpus look at all its vcpus soon, whether they run or wait.
cdef void domain_wake(Domain *domain) noexcept nogil
