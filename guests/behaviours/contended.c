/* What a vcpu is told of another one that shares a pcpu with a third: vcpu 0, on a pcpu of its own, asks all the time,
 * until it has seen vcpu 1 be given that pcpu so many times. */
#include "kit.h"

#define TIMES 200

static volatile u64 count;

static void computes(void)
{
    for (;;)
        count++;
}

static void begin(u32 id)
{
    hypercall(vcpu_op, VCPUOP_initialise, id, vcpu_context(computes));
    hypercall(vcpu_op, VCPUOP_stop_periodic_timer, id, 0);
    hypercall(vcpu_op, VCPUOP_up, id, 0);
}

void main(void)
{
    struct vcpu_runstate_info run, last = { 0 };
    u64 given = 0, backwards = 0, unequal = 0;
    hypercall(vcpu_op, VCPUOP_stop_periodic_timer, 0, 0);
    begin(1);
    begin(2);
    while (given < TIMES) {
        u64 start = now(), end, all = 0;
        hypercall(vcpu_op, VCPUOP_get_runstate_info, 1, &run);
        end = now();
        for (int state = 0; state < 4; state++) {
            all += run.time[state];
            backwards += run.time[state] < last.time[state];
        }
        unequal += all + 1 < start || all > end + 1 || run.state_entry_time > all;      /* they round to ns */
        given += last.state == RUNSTATE_runnable && run.state == RUNSTATE_running;
        last = run;
    }
    printf("times that went back %lu, or do not add up %lu\n", backwards, unequal);
}
