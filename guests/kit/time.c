/* The pvclock: system time from the TSC and vcpu_info's time record, read until its version stands still. */
#include "kit.h"

u64 now(void)
{
    volatile struct vcpu_time_info *t = &vcpu_info->time;
    u32 version;
    u64 ns;
    do {
        version = t->version;
        asm volatile("lfence" : : : "memory");
        u64 delta = rdtsc() - t->tsc_timestamp;
        delta = t->tsc_shift >= 0 ? delta << t->tsc_shift : delta >> -t->tsc_shift;
        ns = t->system_time + (u64)((unsigned __int128)delta * t->tsc_to_system_mul >> 32);
        asm volatile("lfence" : : : "memory");
    } while (version & 1 || version != t->version);
    return ns;
}

u64 wallclock(void)
{
    volatile struct shared_info *s = shared_info;
    u32 version;
    u64 seconds;
    do {
        version = s->wc_version;
        seconds = s->wc_sec | (u64)s->wc_sec_hi << 32;
    } while (version & 1 || version != s->wc_version);
    return seconds + now() / 1000000000;
}
