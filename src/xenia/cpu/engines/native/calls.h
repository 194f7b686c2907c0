/* System calls without a C library. */
#ifndef XENIA_CALLS_H
#define XENIA_CALLS_H

#include <asm/unistd.h>

static long call(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
#define CALL(number, ...) CALL_(__NR_##number, ##__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define CALL_(number, a, b, c, d, e, f, ...) \
    call(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

static _Noreturn void end(int status)
{
    for (;;)
        CALL(exit_group, status);
}

static void must(long result)
{
    if (result < 0)
        end(1);
}

#endif
