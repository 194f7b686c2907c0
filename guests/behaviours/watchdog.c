/* A watchdog that is not kicked ends the domain. */
#include "kit.h"

void main(void)
{
    struct sched_watchdog dog = { 0, 1 };
    printf("set: %ld\n", hypercall(sched_op, SCHEDOP_watchdog, &dog));
    for (;;)
        hypercall(sched_op, SCHEDOP_yield, 0);
}
