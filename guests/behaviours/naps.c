/*
 * Sleeps for 3 ms, 300 times, and tells how much later than it asked for it ran again, and what its runstate says.  A
 * neighbour of guests that burn.
 */
#include "kit.h"

#define NAPS 300
#define NAP  3000000

static void tick(u32 port) { (void)port; }

void main(void)
{
    static u64 late[NAPS];
    struct vcpu_runstate_info run;
    struct vcpu_set_singleshot_timer timer = { 0, 0 };
    u32 port = bind_virq(VIRQ_TIMER);
    hypercall(vcpu_op, VCPUOP_stop_periodic_timer, 0, 0);
    event_handler(port, tick);
    unmask(port);
    events_on();
    for (int i = 0; i < NAPS; i++) {
        u64 asked = now() + NAP, woke;
        int at = i;
        timer.timeout_abs_ns = asked;
        hypercall(vcpu_op, VCPUOP_set_singleshot_timer, 0, &timer);
        while (now() < asked)
            hypercall(sched_op, SCHEDOP_block, 0);
        woke = now() - asked;
        for (; at && late[at - 1] > woke; at--)
            late[at] = late[at - 1];
        late[at] = woke;
    }
    hypercall(vcpu_op, VCPUOP_get_runstate_info, 0, &run);
    printf("median %lu us, longest %lu us\n", late[NAPS / 2] / 1000, late[NAPS - 1] / 1000);
    printf("running %lu us, runnable %lu us, blocked %lu us\n", run.time[0] / 1000, run.time[1] / 1000,
           run.time[2] / 1000);
}
