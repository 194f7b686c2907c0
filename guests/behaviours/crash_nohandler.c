/* A trap that has no handler is the end of the domain. */
#include "kit.h"

void main(void)
{
    printf("about to go\n");
    for (int i = 0; i < 1000; i++)
        hypercall(sched_op, SCHEDOP_yield, 0);
    hypercall(set_trap_table, 0);
    asm volatile("ud2");
}
