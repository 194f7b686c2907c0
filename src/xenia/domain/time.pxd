# Virtual time: one Clock per domain, real or warped, in ns of system time since the domain was created.
from libc.stdint cimport int8_t, int32_t, int64_t, uint32_t, uint64_t
from xenia.domain.domain cimport Domain, Vcpu

cdef struct Clock:
    bint warped             # when every vcpu is idle, time jumps to the next timer
    uint64_t tsc_base       # processor TSC at system time 0 (before warping)
    uint64_t mul_frac       # ns = ((tsc << shift) * mul_frac) >> 32, pvclock's own form
    int8_t shift
    uint64_t warp           # ns added by warping so far (also added to the guest's TSC)
    uint64_t wall_base_ns   # wallclock (ns since the epoch) at system time 0
    uint32_t version
    uint64_t calibrated_at

cdef uint64_t system_time(Domain *domain) noexcept nogil
cdef void time_update(Vcpu *vcpu) noexcept nogil               # write vcpu_time_info (and the secondary copy) with pvclock's version protocol
cdef void timers_fire(Vcpu *vcpu, uint64_t now) noexcept nogil # singleshot, periodic, poll timeout, watchdog whose time has come
cdef uint64_t timers_next(Vcpu *vcpu) noexcept nogil           # earliest deadline in ns of system time, 0 none
cdef void clock_warp_to(Domain *domain, uint64_t when) noexcept nogil
cdef void runstate_change(Vcpu *vcpu, int state, uint64_t now) noexcept nogil
