/*
 * What the agent makes of root=, as a program of its own: it says which device the words in /proc/cmdline mean, where
 * whoever runs it may have mounted other words.
 */
#include "linux.h"
#include "root.h"

__attribute__((noreturn, used)) static void start(void)
{
    char path[BLOCK_NAME + 8], seen[256];
    say(1, "means ");
    say(1, !read_kernel_words() ? "no word" : wait_for_device(path, sizeof path, seen, sizeof seen) ? path : "none");
    say(1, "\n");
    for (;;)
        call1(SYS_exit, 0);
}

__asm__(".globl _start\n_start:\n xor %ebp, %ebp\n and $-16, %rsp\n call start\n");
