/* User mode without a user page table. */
#include "kit.h"

void main(void)
{
    printf("about to go\n");
    for (int i = 0; i < 1000; i++)
        hypercall(sched_op, SCHEDOP_yield, 0);
    user_start();
    mmuext(MMUEXT_NEW_USER_BASEPTR, 0, 0);
    struct frame f = user_frame();
    user_run(&f);
    printf("back with %s error=%lx rip=%lx\n", trap_name(f.vector), f.error, f.rip);
}
