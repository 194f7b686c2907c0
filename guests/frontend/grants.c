#include "grants.h"

#define GRANT_FRAMES (NR_REFS / 512)

volatile struct grant_entry_v1 *grants;
static u8 grant_window[GRANT_FRAMES * PAGE] aligned(4096);

void grants_start(void)
{
    u64 frames[GRANT_FRAMES];
    struct gnttab_setup_table setup = { DOMID_SELF, GRANT_FRAMES, 0, frames };
    hypercall(grant_table_op, GNTTABOP_setup_table, &setup, 1);
    for (int i = 0; i < GRANT_FRAMES; i++)
        hypercall(update_va_mapping, grant_window + i * PAGE, frames[i] * PAGE | KERNEL_PTE, UVMF_INVLPG);
    grants = (void *)grant_window;
}

void grant_again(u32 ref, u64 mfn, int flags, u16 domid)
{
    grants[ref].domid = domid;
    grants[ref].frame = mfn;
    asm volatile("" : : : "memory");
    grants[ref].flags = flags;
}

u32 grant(u64 mfn, int flags, u16 domid)
{
    static u32 next = 8;
    for (u32 tried = 0; tried < NR_REFS; tried++, next++) {
        if (next >= NR_REFS)
            next = 8;
        if (!grants[next].flags) {
            grant_again(next, mfn, flags, domid);
            return next++;
        }
    }
    printf("no reference is free\n");
    shutdown(SHUTDOWN_crash);
}

int grant_end(u32 ref)
{
    u16 flags = grants[ref].flags;
    return !(flags & GRANT_IN_USE) && __atomic_compare_exchange_n(&grants[ref].flags, &flags, 0, 0, __ATOMIC_SEQ_CST,
                                                                  __ATOMIC_SEQ_CST);
}

void join(char *into, const char *a, const char *b)
{
    memcpy(into, a, strlen(a));
    memcpy(into + strlen(a), b, strlen(b) + 1);
}

void doze(u32 port)
{
    struct sched_poll poll = { &port, 1, now() + 1000000 };
    hypercall(sched_op, SCHEDOP_poll, &poll);
    __atomic_and_fetch(&shared_info->evtchn_pending[port / 64], ~(1ul << port % 64), __ATOMIC_SEQ_CST);
}
