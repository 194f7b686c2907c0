/* A trap with nowhere to put its frame is the end of the domain (a double fault). */
#include "kit.h"

void main(void)
{
    printf("about to go\n");
    for (int i = 0; i < 1000; i++)
        hypercall(sched_op, SCHEDOP_yield, 0);
    asm volatile("mov $0x1000, %rsp; ud2");
}
