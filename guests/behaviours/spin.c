/* Spins for ever with events off: only a hypervisor that preempts gets the processor back. */
#include "kit.h"

void main(void)
{
    printf("spinning\n");
    for (int i = 0; i < 1000; i++)
        hypercall(sched_op, SCHEDOP_yield, 0);
    for (;;)
        ;
}
