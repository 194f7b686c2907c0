/* A reason that has no name.  The command line may choose how the guest ends: `call`, `code`, `compat`, `down` or
 * `sleep`, and the number. */
#include "kit.h"

static int number(const char *text)
{
    int value = 0;
    for (; *text; text++)
        if (*text >= '0' && *text <= '9')
            value = value * 10 + *text - '0';
    return value;
}

void main(void)
{
    const char *how = (const char *)start_info->cmd_line;
    u32 why = *how ? (u32)number(how) : 252;
    /* for good: no timer, and what could wake it masked, but for one that `sleep 1` leaves */
    if (starts_with(how, "sleep")) {
        hypercall(vcpu_op, VCPUOP_stop_periodic_timer, 0, 0);
        mask(start_info->store_evtchn);
        mask(start_info->console.evtchn);
        if (why == 1)
            unmask(start_info->console.evtchn);
        do
            hypercall(sched_op, SCHEDOP_block, 0);
        while (why != 1);                       /* what came before it was masked may wake it once */
        shutdown(SHUTDOWN_poweroff);
    }
    if (starts_with(how, "down"))
        hypercall(vcpu_op, VCPUOP_down, 0, 0);
    if (starts_with(how, "compat"))
        hypercall(sched_op_compat, SCHEDOP_shutdown, why);
    if (starts_with(how, "code")) {
        printf("code: %ld\n", hypercall(sched_op, SCHEDOP_shutdown_code, &why));
        shutdown(SHUTDOWN_poweroff);
    }
    printf("about to go\n");
    shutdown((int)why);
}
