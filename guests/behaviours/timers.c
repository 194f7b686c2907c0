/* Time and timers: singleshot, periodic, set_timer_op, runstate, the clock's promises. */
#include "kit.h"

static volatile u32 ticks;
static u64 asked;

static void say(const char *name, long result) { printf("%s: %ld\n", name, result); }
static void tick(u32 port) { (void)port; ticks++; }

static void wait_tick(const char *name)
{
    while (!ticks)
        hypercall(sched_op, SCHEDOP_block, 0);
    printf("%s: tick, %s\n", name, now() >= asked ? "not early" : "early");
    ticks = 0;
}

/* A periodic timer ticks while its vcpu runs; it does not wake one that blocked. */
static void spin_tick(const char *name)
{
    while (!ticks)
        ;
    printf("%s: tick, %s\n", name, now() >= asked ? "not early" : "early");
    ticks = 0;
}

void main(void)
{
    struct vcpu_set_singleshot_timer single;
    u32 port;
    u64 before = now(), earlier = before;
    int backwards = 0;
    for (int i = 0; i < 10000; i++) {
        u64 t = now();
        backwards += t < earlier;
        earlier = t;
    }
    printf("clock went backwards: %d times in 10000\n", backwards);
    printf("clock moves: %d\n", now() > before);
    printf("time version is even: %d\n", !(vcpu_info->time.version & 1));
    printf("wallclock after 2020: %d\n", wallclock() > 1577836800);

    /* ticks of the timer that every vcpu starts with */
    port = bind_virq(VIRQ_TIMER);
    event_handler(port, tick);
    unmask(port);
    events_on();
    asked = 0;
    spin_tick("periodic timer from the start");
    say("stop periodic", hypercall(vcpu_op, VCPUOP_stop_periodic_timer, 0, 0));
    ticks = 0;

    asked = now() + 2000000;
    say("set_timer_op", hypercall(set_timer_op, asked));
    wait_tick("set_timer_op");
    asked = now() - 1000000;
    say("set_timer_op in the past", hypercall(set_timer_op, asked));
    wait_tick("past");
    say("set_timer_op 0", hypercall(set_timer_op, 0));
    asked = now() + 2000000;
    single = (struct vcpu_set_singleshot_timer){ asked, 0 };
    say("singleshot", hypercall(vcpu_op, VCPUOP_set_singleshot_timer, 0, &single));
    wait_tick("singleshot");
    asked = now() - 1000000;
    single = (struct vcpu_set_singleshot_timer){ asked, 0 };
    say("singleshot in the past", hypercall(vcpu_op, VCPUOP_set_singleshot_timer, 0, &single));
    wait_tick("past");
    single = (struct vcpu_set_singleshot_timer){ now() - 1000000, VCPU_SSHOTTMR_future };
    say("singleshot in the past, future flag", hypercall(vcpu_op, VCPUOP_set_singleshot_timer, 0, &single));
    single = (struct vcpu_set_singleshot_timer){ now() + 1000000000, 0 };
    hypercall(vcpu_op, VCPUOP_set_singleshot_timer, 0, &single);
    say("stop singleshot", hypercall(vcpu_op, VCPUOP_stop_singleshot_timer, 0, 0));
    u64 period = 3000000;
    asked = now();
    say("periodic 3 ms", hypercall(vcpu_op, VCPUOP_set_periodic_timer, 0, &period));
    spin_tick("periodic");
    spin_tick("periodic again");
    say("stop periodic", hypercall(vcpu_op, VCPUOP_stop_periodic_timer, 0, 0));
    period = 500000;
    say("periodic 500 us", hypercall(vcpu_op, VCPUOP_set_periodic_timer, 0, &period));
    period = ~0ul;
    say("periodic for ever", hypercall(vcpu_op, VCPUOP_set_periodic_timer, 0, &period));
    say("stop periodic", hypercall(vcpu_op, VCPUOP_stop_periodic_timer, 0, 0));
    say("periodic on vcpu 1", hypercall(vcpu_op, VCPUOP_set_periodic_timer, 1, &period));
    say("periodic, bad pointer", hypercall(vcpu_op, VCPUOP_set_periodic_timer, 0, 0x1000));

    /* poll with a timeout: no event needed, events off */
    events_off();
    ticks = 0;
    struct sched_poll poll = { NULL, 0, now() + 3000000 };
    u64 until = poll.timeout;
    say("poll with a timeout", hypercall(sched_op, SCHEDOP_poll, &poll));
    printf("after the timeout: %d\n", now() >= until);
    poll.timeout = now() - 1;
    say("poll with a timeout in the past", hypercall(sched_op, SCHEDOP_poll, &poll));
    poll = (struct sched_poll){ &port, 1, 0 };
    single = (struct vcpu_set_singleshot_timer){ now() + 2000000, 0 };
    hypercall(vcpu_op, VCPUOP_set_singleshot_timer, 0, &single);
    say("poll on the timer's port", hypercall(sched_op, SCHEDOP_poll, &poll));
    printf("pending: %lu, upcall pending: %d\n", shared_info->evtchn_pending[port / 64] >> port % 64 & 1,
           vcpu_info->evtchn_upcall_pending);
    say("poll on a pending port", hypercall(sched_op, SCHEDOP_poll, &poll));
    u32 bad = 5000;
    poll.ports = &bad;
    say("poll on port 5000", hypercall(sched_op, SCHEDOP_poll, &poll));
    poll.ports = (u32 *)0x1000;
    say("poll, bad pointer", hypercall(sched_op, SCHEDOP_poll, &poll));
    poll = (struct sched_poll){ &port, 129, now() + 1000000 };
    say("poll on 129 ports", hypercall(sched_op, SCHEDOP_poll, &poll));

    /* block with events masked: Xen unmasks, delivers, returns 0 */
    shared_info->evtchn_pending[port / 64] &= ~(1ul << port % 64);
    vcpu_info->evtchn_upcall_pending = 0;
    vcpu_info->evtchn_pending_sel = 0;
    ticks = 0;
    single = (struct vcpu_set_singleshot_timer){ now() + 2000000, 0 };
    hypercall(vcpu_op, VCPUOP_set_singleshot_timer, 0, &single);
    say("block with events masked", hypercall(sched_op, SCHEDOP_block, 0));
    printf("mask after: %d, ticks: %u\n", vcpu_info->evtchn_upcall_mask, ticks);

    struct vcpu_runstate_info run;
    say("runstate", hypercall(vcpu_op, VCPUOP_get_runstate_info, 0, &run));
    printf("state %d, ran %d, blocked %d, entered in the past %d, sums up %d\n", run.state, run.time[0] > 0,
           run.time[2] > 0,
           run.state_entry_time <= now(), run.time[0] + run.time[1] + run.time[2] + run.time[3] <= now() + 1000000000);
    static struct vcpu_runstate_info area aligned(64);
    struct vcpu_runstate_info *where = &area;
    say("register runstate area", hypercall(vcpu_op, VCPUOP_register_runstate_memory_area, 0, &where));
    printf("area filled at once: %d, state %d\n", area.time[0] > 0, area.state);
    u64 blocked = area.time[2];
    events_off();
    poll = (struct sched_poll){ NULL, 0, now() + 3000000 };
    hypercall(sched_op, SCHEDOP_poll, &poll);
    printf("blocked time grew by the wait: %d\n", area.time[2] >= blocked + 2000000);
    static struct vcpu_time_info copy aligned(64);
    struct vcpu_time_info *copy_at = &copy;
    say("register time area", hypercall(vcpu_op, VCPUOP_register_vcpu_time_memory_area, 0, &copy_at));
    printf("copy agrees: %d\n", copy.tsc_to_system_mul == vcpu_info->time.tsc_to_system_mul && copy.version);
    say("block with nothing to wait for but a timer",
        (hypercall(set_timer_op, now() + 1000000), hypercall(sched_op, SCHEDOP_block, 0)));
}
