/* Which model-specific registers there are: every index of the ranges that processors and Xen use is read and
 * written. */
#include "kit.h"

struct answer { u32 readable, zero, ones, one; u64 before, after_ones, after_one; };

static int read(u32 msr, u64 *value)
{
    u32 low, high;
    attempt("rdmsr", : "=a"(low), "=d"(high) : "c"(msr), "0"(0), "1"(0) : "memory");
    *value = low | (u64)high << 32;
    return caught.vector == VECTOR_NONE;
}

static int write(u32 msr, u64 value)
{
    attempt("wrmsr", : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
    return caught.vector == VECTOR_NONE;
}

static int differs_by_machine(u32 msr) { return msr == 0x10 || msr == 0x8b || msr == 0xce || msr == 0x10a
                                         || msr == 0x1a0; }
static int is_always_shown(u32 msr) { return msr == 0x10a || msr == 0x1d9; }

static struct answer ask(u32 msr)
{
    struct answer answer = { 0 };
    answer.readable = read(msr, &answer.before);
    answer.zero = write(msr, 0);
    if (!answer.readable && !answer.zero)
        return answer;
    answer.ones = write(msr, ~0ul);
    read(msr, &answer.after_ones);
    answer.one = write(msr, 1);
    read(msr, &answer.after_one);
    write(msr, answer.before);
    if (differs_by_machine(msr))
        answer.before = answer.after_ones = answer.after_one = 0;
    return answer;
}

/* Neighbours that answer alike are shown as one. */
static void sweep(u32 from)
{
    struct answer answer, next = ask(from);
    for (u32 msr = from, first = from; msr < from + 0x2000; msr++) {
        answer = next;
        if (msr + 1 < from + 0x2000)
            next = ask(msr + 1);
        if (msr + 1 < from + 0x2000 && !memcmp(&answer, &next, sizeof(answer)) && !is_always_shown(msr)
            && !is_always_shown(msr + 1))
            continue;
        if (answer.readable || answer.zero || answer.ones || answer.one || is_always_shown(msr)) {
            printf("%x", first);
            if (first != msr)
                printf(" to %x", msr);
            printf(": %sreadable, takes%s%s%s", answer.readable ? "" : "not ", answer.zero ? " 0" : "",
                   answer.ones ? " ~0" : "",
                   answer.one ? " 1" : "");
            if (answer.readable && !differs_by_machine(msr))
                printf(", holds %lx, then %lx %lx", answer.before, answer.after_ones, answer.after_one);
            printf("\n");
        }
        first = msr + 1;
    }
}

void main(void)
{
    sweep(0);
    sweep(0x40000000);
    sweep(0xc0000000);
    sweep(0xc0010000);
}
