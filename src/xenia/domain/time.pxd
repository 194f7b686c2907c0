# Virtual time: one Clock per domain, real or warped, in ns of system time since the domain was created.
from libc.stdint cimport int8_t, int32_t, int64_t, uint32_t, uint64_t
from xenia.domain.domain cimport Domain, Vcpu

ctypedef uint64_t (*host_clock_fn)(void *argument) noexcept nogil     # ns, never backwards

cdef struct Clock:
    bint warped             # when every vcpu is idle, time jumps to the next timer
    # pvclock's own form: system time = stime_stamp + (((tsc - tsc_stamp) << shift) * mul_frac >> 32), tsc as the guest
    # reads it.
    uint64_t tsc_stamp
    uint64_t stime_stamp
    uint32_t mul_frac
    int8_t shift
    volatile uint32_t version       # odd while the four above change
    # Calibration of the processor's TSC against the host's clock.
    host_clock_fn host_clock
    void *host_argument
    uint64_t host_base              # host_clock at system time 0
    uint64_t host_stamp             # host_clock and TSC of the last calibration
    uint64_t host_tsc
    uint64_t interval               # ns from one calibration to the next
    uint64_t calibrate_at           # system time of the next one
    uint64_t warp                   # ns added by warping so far (the guest's TSC jumped with them)
    int64_t tsc_offset              # guest TSC - processor TSC
    uint64_t wall_base_ns           # wallclock (ns since the epoch) at system time 0

# Start the domain's time at 0.  `clock` outlives the domain's last use; vcpu.processor is set.  Takes about 2 ms (a
# first calibration).
cdef void clock_start(Domain *domain, Clock *clock, bint warped) noexcept nogil
# The same with a host clock and a wallclock of the caller's (tests).
cdef void clock_start_with(Domain *domain, Clock *clock, bint warped, host_clock_fn host_clock, void *host_argument,
                           uint64_t wall_ns) noexcept nogil
cdef uint64_t system_time(Domain *domain) noexcept nogil       # from any thread
# write vcpu_time_info (and the secondary copy) with pvclock's version protocol
cdef void time_update(Vcpu *vcpu) noexcept nogil
cdef void wallclock_update(Domain *domain) noexcept nogil      # write shared_info's wallclock
# Singleshot, periodic, poll timeout and watchdog whose time has come, and calibration about once a second.
cdef void timers_fire(Vcpu *vcpu, uint64_t now) noexcept nogil
cdef uint64_t timers_next(Vcpu *vcpu) noexcept nogil           # earliest deadline in ns of system time, 0 none
cdef void clock_warp_to(Domain *domain, uint64_t when) noexcept nogil
cdef void timer_set_singleshot(Vcpu *vcpu, uint64_t when, uint64_t now) noexcept nogil    # a time gone by fires at once
cdef void timer_set_periodic(Vcpu *vcpu, uint64_t period, uint64_t now) noexcept nogil    # 0 stops
cdef int64_t watchdog_set(Domain *domain, uint32_t number, uint32_t seconds) noexcept nogil   # SCHEDOP_watchdog
cdef void runstate_change(Vcpu *vcpu, int state, uint64_t now) noexcept nogil
cdef void runstate_publish(Vcpu *vcpu) noexcept nogil          # copy to the registered area
