"""Virtual time (public/xen.h vcpu_time_info, public/vcpu.h timers and runstate).

System time counts ns since the domain was created.  It is derived from the TSC the guest reads, with the same scale
that is published in vcpu_time_info, so that the guest, which computes it by itself, and Xenia never disagree.  The
scale is calibrated against the host's monotonic clock: quickly at the start (2 ms), then after 20 ms, 200 ms and each
second.  Each calibration takes over at the point where the old scale is then, so time is continuous and cannot step
back; what had accumulated as error is worked off by a rate that is up to 10 ppm too fast or too slow.

A warped clock follows the host's too, until every vcpu is idle: then clock_warp_to adds what is left until the next
timer, to system time and, in ticks, to the guest's TSC.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec
from xenia.abi.errno cimport XEN_EINVAL, XEN_ENOSPC
from xenia.abi.vcpu cimport XEN_RUNSTATE_UPDATE, vcpu_runstate_info_t
from xenia.abi.xen cimport VIRQ_TIMER, VMASST_TYPE_runstate_update_flag, vcpu_time_info_t
from xenia.domain.clock cimport RUNSTATE_runnable, Clock, Runstate, host_clock_fn
from xenia.domain.domain cimport SHUTDOWN_watchdog, Domain, Vcpu
from xenia.domain.events cimport virq_send
from xenia.domain.lifecycle cimport domain_shutdown
from xenia.domain.upcall cimport vcpu_unblock
from xenia.machine.clock cimport monotonic
from xenia.mm.access cimport copy_to_guest

cdef extern from *:
    """
    #include <stdint.h>
    static inline uint64_t scale_delta(uint64_t delta, uint32_t mul_frac, int8_t shift)
    {
        delta = shift < 0 ? delta >> -shift : delta << shift;
        return (uint64_t)(((unsigned __int128)delta * mul_frac) >> 32);
    }
    static inline void fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
    """
    uint64_t scale_delta(uint64_t delta, uint32_t mul_frac, signed char shift) noexcept nogil
    void fence() noexcept nogil

cdef enum:
    FIRST_CALIBRATION_NS = 2_000_000
    CALIBRATION_NS = 1_000_000_000
    CORRECTION_NS = 8_000_000_000       # time over which an error is worked off
    STEP_NS = 100_000_000               # behind by more than this (host was suspended): step forward
    TSC_STABLE = 1                      # XEN_PVCLOCK_TSC_STABLE_BIT


cdef uint64_t host_monotonic(void *argument) noexcept nogil:
    return monotonic()


cdef uint64_t host_realtime() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_REALTIME, &now)
    return <uint64_t>now.tv_sec * 1_000_000_000 + <uint64_t>now.tv_nsec


# The TSCs of all its processors agree.
cdef uint64_t guest_tsc(Domain *domain) noexcept nogil:
    return domain.vcpus[0].processor.ops.read_tsc(domain.vcpus[0].processor)


# Host clock and TSC of one moment: of a few tries, the one that was least disturbed.
cdef void read_both(Domain *domain, Clock *clock, uint64_t *tsc, uint64_t *host) noexcept nogil:
    cdef uint64_t before, after, reading, best = <uint64_t>-1
    cdef int _
    for _ in range(4):
        before = guest_tsc(domain)
        reading = clock.host_clock(clock.host_argument)
        after = guest_tsc(domain)
        if after - before < best:
            best = after - before
            tsc[0] = before + (after - before) // 2
            host[0] = reading


# ns per tick -> mul_frac in [2^31, 2^32) and shift.
cdef void set_scale(Clock *clock, double rate) noexcept nogil:
    cdef int shift = 0
    while rate >= 1.0 and shift < 31:
        rate /= 2
        shift += 1
    while rate < 0.5 and shift > -31:
        rate *= 2
        shift -= 1
    clock.mul_frac = <uint32_t>(rate * 4294967296.0) if rate < 0.9999999998 else 0xffffffff
    clock.shift = shift


cdef inline uint64_t time_at(Clock *clock, uint64_t tsc) noexcept nogil:
    if tsc <= clock.tsc_stamp:
        return clock.stime_stamp
    return clock.stime_stamp + scale_delta(tsc - clock.tsc_stamp, clock.mul_frac, clock.shift)


cdef uint64_t system_time(Domain *domain) noexcept nogil:
    cdef Clock *clock = &domain.clock
    cdef uint32_t version
    cdef uint64_t now
    while True:
        version = clock.version
        fence()
        now = time_at(clock, guest_tsc(domain))
        fence()
        if not version & 1 and version == clock.version:
            return now


cdef void clock_start(Domain *domain, bint warped) noexcept nogil:
    clock_start_with(domain, warped, host_monotonic, NULL, host_realtime())


cdef void clock_start_with(Domain *domain, bint warped, host_clock_fn host_clock, void *host_argument,
                           uint64_t wall_ns) noexcept nogil:
    cdef Clock *clock = &domain.clock
    cdef uint64_t tsc = 0, host = 0
    clock.warped = warped
    clock.host_clock = host_clock
    clock.host_argument = host_argument
    clock.wall_base_ns = wall_ns
    clock.warp = 0
    clock.tsc_offset = 0
    clock.stime_stamp = 0
    clock.version = 0
    read_both(domain, clock, &tsc, &host)
    clock.host_base = clock.host_stamp = host
    clock.tsc_stamp = clock.host_tsc = tsc
    while host - clock.host_stamp < FIRST_CALIBRATION_NS:
        read_both(domain, clock, &tsc, &host)
    set_scale(
        clock, <double>(host - clock.host_stamp) / <double>(tsc - clock.host_tsc) if tsc > clock.host_tsc else 1.0)
    clock.interval = 10 * FIRST_CALIBRATION_NS
    clock.calibrate_at = time_at(clock, tsc) + clock.interval


cdef void calibrate(Domain *domain) noexcept nogil:
    cdef Clock *clock = &domain.clock
    cdef uint64_t tsc = 0, host = 0, now, target
    cdef int64_t error
    cdef double rate, correction, horizon
    read_both(domain, clock, &tsc, &host)
    now = time_at(clock, tsc)
    target = host - clock.host_base + clock.warp
    error = <int64_t>(target - now)
    if error > STEP_NS or tsc < clock.tsc_stamp:
        now = max(now, target)
        error = 0
    clock.version += 1
    fence()
    clock.tsc_stamp = tsc
    clock.stime_stamp = now
    if tsc > clock.host_tsc and host > clock.host_stamp:
        rate = <double>(host - clock.host_stamp) / <double>(tsc - clock.host_tsc)
        horizon = <double>max(host - clock.host_stamp, <uint64_t>CORRECTION_NS)
        correction = max(-10e-6, min(10e-6, <double>error / horizon))
        set_scale(clock, rate * (1.0 + correction))
    fence()
    clock.version += 1
    clock.host_tsc = tsc
    clock.host_stamp = host
    clock.interval = min(10 * clock.interval, <uint64_t>CALIBRATION_NS)
    clock.calibrate_at = now + clock.interval


cdef void write_time(Clock *clock, vcpu_time_info_t *info, uint32_t version) noexcept nogil:
    info.version = version
    fence()                     # its other vcpus may read
    info.tsc_timestamp = clock.tsc_stamp
    info.system_time = clock.stime_stamp
    info.tsc_to_system_mul = clock.mul_frac
    info.tsc_shift = clock.shift
    info.flags = TSC_STABLE


cdef void time_update(Vcpu *vcpu) noexcept nogil:
    time_update_by(vcpu, vcpu.mmu.root_kernel)


cdef void time_update_by(Vcpu *vcpu, uint64_t root) noexcept nogil:
    cdef Clock *clock = &vcpu.domain.clock
    cdef vcpu_time_info_t *info = &vcpu.info.time
    cdef vcpu_time_info_t copy
    cdef uint32_t version = (info.version | 1) + 1      # even, and not the one that was there
    write_time(clock, info, version - 1)
    fence()
    info.version = version
    if vcpu.timers.time_info_va and root:        # a vcpu without page tables is not up yet
        copy = info[0]
        copy.version = version - 1
        if copy_to_guest(&vcpu.domain.memory, root, vcpu.timers.time_info_va, &copy, sizeof(copy)) == 0:
            copy_to_guest(&vcpu.domain.memory, root, vcpu.timers.time_info_va, &version, sizeof(version))


cdef void time_update_all(Domain *domain) noexcept nogil:
    cdef uint32_t id
    for id in range(domain.nr_vcpus):
        time_update(domain.vcpus[id])


cdef void wallclock_update(Domain *domain) noexcept nogil:
    cdef Clock *clock = &domain.clock
    cdef uint32_t version = (domain.shared_info.wc_version | 1) + 1
    domain.shared_info.wc_version = version - 1
    fence()
    domain.shared_info.wc_sec = <uint32_t>(clock.wall_base_ns // 1_000_000_000)
    domain.shared_info.wc_sec_hi = <uint32_t>((clock.wall_base_ns // 1_000_000_000) >> 32)
    domain.shared_info.wc_nsec = <uint32_t>(clock.wall_base_ns % 1_000_000_000)
    fence()
    domain.shared_info.wc_version = version


cdef void timer_set_singleshot(Vcpu *vcpu, uint64_t when, uint64_t now) noexcept nogil:
    vcpu.timers.singleshot_expires = when
    vcpu.timers.changed = 1
    if when and when <= now:
        vcpu.timers.singleshot_expires = 0
        virq_send(vcpu, VIRQ_TIMER)


cdef void timer_set_periodic(Vcpu *vcpu, uint64_t period, uint64_t now) noexcept nogil:
    vcpu.timers.periodic_period = period
    vcpu.timers.changed = 1
    vcpu.timers.periodic_expires = now + period


cdef int64_t watchdog_set(Vcpu *vcpu, uint32_t number, uint32_t seconds) noexcept nogil:
    cdef Domain *domain = vcpu.domain
    cdef uint32_t slot
    cdef uint64_t expires = system_time(domain) + <uint64_t>seconds * 1_000_000_000
    if number > 2:
        return -XEN_EINVAL
    if number == 0:
        for slot in range(2):
            if not domain.watchdog_expires[slot]:
                domain.watchdog_expires[slot] = expires
                vcpu.timers.changed = 1
                return slot + 1
        return <uint32_t>-XEN_ENOSPC        # so it reaches the guest from Xen: not sign-extended
    if not domain.watchdog_expires[number - 1]:
        return -XEN_EINVAL
    domain.watchdog_expires[number - 1] = expires if seconds else 0
    vcpu.timers.changed = 1
    return 0


cdef void timers_fire(Vcpu *vcpu, uint64_t now) noexcept nogil:
    cdef Domain *domain = vcpu.domain
    cdef int i
    if now >= domain.clock.calibrate_at:
        calibrate(domain)
        time_update_all(domain)
    if vcpu.timers.singleshot_expires and vcpu.timers.singleshot_expires <= now:
        vcpu.timers.singleshot_expires = 0
        virq_send(vcpu, VIRQ_TIMER)
    if vcpu.timers.poll_expires and vcpu.timers.poll_expires <= now:
        vcpu_unblock(vcpu)
    # The periodic timer belongs to a vcpu that runs: it wakes nobody.
    if vcpu.timers.periodic_period and vcpu.is_up and not vcpu.blocked and vcpu.timers.periodic_expires <= now:
        vcpu.timers.periodic_expires = now + vcpu.timers.periodic_period
        virq_send(vcpu, VIRQ_TIMER)
    for i in range(2):
        if domain.watchdog_expires[i] and domain.watchdog_expires[i] <= now:
            domain.watchdog_expires[i] = 0
            domain_shutdown(domain, SHUTDOWN_watchdog)


cdef inline uint64_t earlier(uint64_t a, uint64_t b) noexcept nogil:
    return b if not a or (b and b < a) else a


cdef uint64_t timers_next(Vcpu *vcpu) noexcept nogil:
    cdef uint64_t when = earlier(vcpu.timers.singleshot_expires, vcpu.timers.poll_expires)
    when = earlier(when, vcpu.domain.watchdog_expires[0])
    when = earlier(when, vcpu.domain.watchdog_expires[1])
    if vcpu.is_up and not vcpu.blocked:
        when = earlier(when, vcpu.domain.clock.calibrate_at)
        if vcpu.timers.periodic_period:
            when = earlier(when, vcpu.timers.periodic_expires)
    return when


cdef uint64_t domain_timers_next(Domain *domain) noexcept nogil:
    cdef uint64_t when = 0
    cdef uint32_t id
    for id in range(domain.nr_vcpus):
        when = earlier(when, timers_next(domain.vcpus[id]))
    return when


cdef void clock_warp_to(Domain *domain, uint64_t when) noexcept nogil:
    cdef Clock *clock = &domain.clock
    cdef uint64_t tsc = guest_tsc(domain)
    cdef uint64_t now = time_at(clock, tsc)
    cdef uint64_t ticks
    cdef uint32_t id
    cdef double per_tick
    if when <= now:
        return
    per_tick = <double>clock.mul_frac / 4294967296.0
    per_tick = per_tick * <double>(1 << clock.shift) if clock.shift >= 0 else per_tick / <double>(1 << -clock.shift)
    ticks = <uint64_t>(<double>(when - now) / per_tick)
    clock.warp += when - now
    clock.tsc_offset += <int64_t>ticks
    for id in range(domain.nr_vcpus):
        domain.vcpus[id].processor.ops.set_tsc_offset(domain.vcpus[id].processor, clock.tsc_offset)
    clock.version += 1
    fence()
    clock.tsc_stamp = tsc + ticks
    clock.stime_stamp = when
    fence()
    clock.version += 1
    clock.host_tsc += ticks
    time_update_all(domain)


cdef void runstate_of(Vcpu *vcpu, Runstate *found) noexcept nogil:
    cdef uint64_t now = system_time(vcpu.domain)        # before the look: who is pushed off after it runs until then
    cdef uint64_t since = runnable_since(vcpu)
    if since:
        runstate_change(vcpu, RUNSTATE_runnable, since)
    vcpu.runstate.told = now = max(now, vcpu.runstate.since)
    found[0] = vcpu.runstate
    found.time[found.state] += now - found.since


cdef uint64_t runnable_since(Vcpu *vcpu) noexcept nogil:
    # The host's clock may be a little ahead of the domain's, or behind what was told by that.
    cdef Clock *clock = &vcpu.domain.clock
    cdef uint64_t since = 0
    if vcpu.is_up and not vcpu.blocked and vcpu.runstate.state != RUNSTATE_runnable and vcpu.waits_since != NULL:
        since = vcpu.waits_since(vcpu.wake_argument)
    if not since:
        return 0
    return min(max(since - clock.host_base + clock.warp, vcpu.runstate.told), system_time(vcpu.domain))


cdef void runstate_add(Runstate *runstate, int state, uint64_t now) noexcept nogil:
    if now > runstate.since:
        runstate.time[runstate.state] += now - runstate.since
        runstate.since = now
    runstate.state = state


cdef void runstate_change(Vcpu *vcpu, int state, uint64_t now) noexcept nogil:
    runstate_add(&vcpu.runstate, state, now)
    if vcpu.runstate.va:
        runstate_publish(vcpu, vcpu.mmu.root_kernel)


cdef void runstate_publish(Vcpu *vcpu, uint64_t root) noexcept nogil:
    cdef vcpu_runstate_info_t info
    cdef Domain *domain = vcpu.domain
    cdef uint64_t entry_va = vcpu.runstate.va + 8        # state_entry_time
    cdef int i
    memset(&info, 0, sizeof(info))      # its padding too
    info.state = vcpu.runstate.state
    info.state_entry_time = vcpu.runstate.since
    for i in range(4):
        info.time[i] = vcpu.runstate.time[i]
    if domain.vm_assist & (<uint64_t>1 << VMASST_TYPE_runstate_update_flag):
        info.state_entry_time |= XEN_RUNSTATE_UPDATE
        if copy_to_guest(&domain.memory, root, entry_va, &info.state_entry_time, 8):
            return
        copy_to_guest(&domain.memory, root, vcpu.runstate.va, &info, sizeof(info))
        info.state_entry_time &= ~XEN_RUNSTATE_UPDATE
        copy_to_guest(&domain.memory, root, entry_va, &info.state_entry_time, 8)
    else:
        copy_to_guest(&domain.memory, root, vcpu.runstate.va, &info, sizeof(info))
