# Virtual time: what is done with a domain's Clock, and its vcpus' timers.
from libc.stdint cimport int64_t, uint32_t, uint64_t
from xenia.domain.clock cimport Runstate, host_clock_fn
from xenia.domain.domain cimport Domain, Vcpu

# Start the domain's time at 0.  Precondition: its first vcpu has a processor.  Takes about 2 ms (a
# first calibration).
cdef void clock_start(Domain *domain, bint warped) noexcept nogil
# The same with a host clock and a wallclock of the caller's (tests).
cdef void clock_start_with(Domain *domain, bint warped, host_clock_fn host_clock, void *host_argument,
                           uint64_t wall_ns) noexcept nogil
cdef uint64_t system_time(Domain *domain) noexcept nogil       # from any thread
# write vcpu_time_info (and the secondary copy) with pvclock's version protocol
cdef void time_update(Vcpu *vcpu) noexcept nogil
# the copy by another vcpu's page tables: `root`
cdef void time_update_by(Vcpu *vcpu, uint64_t root) noexcept nogil
cdef void wallclock_update(Domain *domain) noexcept nogil      # write shared_info's wallclock
# Singleshot, periodic, poll timeout and watchdog whose time has come, and calibration about once a second.
cdef void timers_fire(Vcpu *vcpu, uint64_t now) noexcept nogil
cdef uint64_t timers_next(Vcpu *vcpu) noexcept nogil           # earliest deadline in ns of system time, 0 none
cdef uint64_t domain_timers_next(Domain *domain) noexcept nogil     # of all its vcpus
cdef void clock_warp_to(Domain *domain, uint64_t when) noexcept nogil
cdef void timer_set_singleshot(Vcpu *vcpu, uint64_t when, uint64_t now) noexcept nogil    # a time gone by fires at once
cdef void timer_set_periodic(Vcpu *vcpu, uint64_t period, uint64_t now) noexcept nogil    # 0 stops
# SCHEDOP_watchdog.  Who calls looks at its timers anew, and so waits for it.
cdef int64_t watchdog_set(Vcpu *vcpu, uint32_t number, uint32_t seconds) noexcept nogil
# Its state of now, since when, and the times up to now, which add up to system time.  One that waits is runnable from
# then on, to whoever looks.
cdef void runstate_of(Vcpu *vcpu, Runstate *found) noexcept nogil
# In ns of system time: since when it waits for a pcpu and its runstate does not say so; 0 there is nothing to add.
cdef uint64_t runnable_since(Vcpu *vcpu) noexcept nogil
cdef void runstate_add(Runstate *runstate, int state, uint64_t now) noexcept nogil
cdef void runstate_change(Vcpu *vcpu, int state, uint64_t now) noexcept nogil   # and publish it
# copy to the registered area, by the page tables `root`
cdef void runstate_publish(Vcpu *vcpu, uint64_t root) noexcept nogil
