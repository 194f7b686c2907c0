/* What a vcpu is told of another one: vcpu 1 computes, then blocks, then goes down, on the one pcpu on which vcpu 0
 * asks and looks.  While vcpu 0 runs, vcpu 1 does not; vcpu 0 says what it is told instead. */
#include "kit.h"

#define LOOKS 20000

static volatile u64 count;
static volatile int stage;
static volatile struct vcpu_runstate_info area;

static void second_vcpu(void)
{
    struct vcpu_runstate_info *where = (struct vcpu_runstate_info *)&area;
    hypercall(vcpu_op, VCPUOP_register_runstate_memory_area, 1, &where);
    while (stage == 0)
        count++;
    hypercall(sched_op, SCHEDOP_block, 0);
    hypercall(vcpu_op, VCPUOP_down, 1, 0);
    for (;;)
        ;
}

static void say(const char *when, const char *how, const u64 *found)
{
    static const char *const names[] = { "running", "runnable", "blocked", "offline" };
    printf("%s: %s:", when, how);
    for (int state = 0; state < 4; state++)
        if (found[state])
            printf(" %s", names[state]);
    printf("\n");
}

static void tell(const char *when)
{
    u64 asked[4] = { 0 }, looked[4] = { 0 }, last[4] = { 0 }, begun = count, unequal = 0, backwards = 0;
    for (int i = 0; i < LOOKS; i++) {
        struct vcpu_runstate_info run;
        u64 before = count, start = now(), end, all = 0;
        int state = area.state;
        hypercall(vcpu_op, VCPUOP_get_runstate_info, 1, &run);
        end = now();
        for (int each = 0; each < 4; each++) {
            backwards += run.time[each] < last[each];
            all += last[each] = run.time[each];
        }
        unequal += all < start || all > end || run.state_entry_time > all;
        if (before != count)
            continue;       /* it ran meanwhile */
        asked[run.state]++;
        looked[state]++;
    }
    say(when, "asked", asked);
    say(when, "looked", looked);
    printf("%s: it ran %d, times that went back %lu, or do not add up %lu\n", when, begun != count, backwards, unequal);
}

/* Until it has done that. */
static void until(int state)
{
    while (area.state != state)
        hypercall(sched_op, SCHEDOP_yield, 0);
}

void main(void)
{
    hypercall(vcpu_op, VCPUOP_stop_periodic_timer, 0, 0);
    hypercall(vcpu_op, VCPUOP_initialise, 1, vcpu_context(second_vcpu));
    hypercall(vcpu_op, VCPUOP_stop_periodic_timer, 1, 0);
    hypercall(vcpu_op, VCPUOP_up, 1, 0);
    while (!count)
        hypercall(sched_op, SCHEDOP_yield, 0);
    tell("computes");
    stage = 1;
    until(RUNSTATE_blocked);
    tell("blocks");
    hypercall(vcpu_op, VCPUOP_send_nmi, 1, 0);
    until(RUNSTATE_offline);
    tell("is down");
}
