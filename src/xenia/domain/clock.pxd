# A domain's virtual time as data.  The rules are in time.pyx.
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t

ctypedef uint64_t (*host_clock_fn)(void *argument) noexcept nogil     # ns, never backwards

cdef enum:                  # Runstate.state: RUNSTATE_* of public/vcpu.h
    RUNSTATE_running = 0
    RUNSTATE_runnable = 1
    RUNSTATE_blocked = 2
    RUNSTATE_offline = 3

# A domain's: real or warped, in ns of system time since the domain was created.
#   lock    version: readers of any thread go round again while it is odd, or has changed.  Who has the turn writes.
#   saved   system time, the counter that the guest reads, warped; the scale and the calibration are the new host's.
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

# A vcpu's.  Times are ns of system time, 0: not set.
#   lock    the turn.
#   saved   all.  A guest that suspends itself registers its time_info again.
cdef struct VcpuTimers:
    uint64_t singleshot_expires     # VCPUOP_set_singleshot_timer, set_timer_op
    uint64_t periodic_period        # ns
    uint64_t periodic_expires
    uint64_t poll_expires
    uint64_t time_info_va           # guest address of a secondary vcpu_time_info, 0 none
    uint8_t changed                 # a running vcpu's deadlines may have come nearer: the run loop has to look

# A vcpu's: how long it has been in which state.
#   lock    the turn.
#   saved   all but `told`.  A guest that suspends itself registers `va` again.
cdef struct Runstate:
    int32_t state                   # RUNSTATE_*
    uint64_t since                  # ns of system time
    uint64_t time[4]                # ns spent in each, until `since`
    uint64_t told                   # ns of system time: what was told of it until then is not changed any more
    uint64_t va                     # guest address of vcpu_runstate_info, 0 none
