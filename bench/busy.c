/* So many rounds of arithmetic, loads, stores and calls, in a few pages of its own: work that needs nobody.
 *
 * Its code is on a page of its own, too: a static program's first pages have the C library's CPUIDs, and such a page is
 * not executed natively where the host's processor tells nobody of CPUID (docs/native.md). */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define OWN_PAGE __attribute__((noinline, section("own_page")))

static uint64_t table[1024];

OWN_PAGE __attribute__((aligned(4096))) static uint64_t mix(uint64_t value, uint64_t with)
{
    return (value ^ with) * 0x9e3779b97f4a7c15u;
}

OWN_PAGE static uint64_t work(long rounds)
{
    uint64_t value = 1;
    for (; rounds; rounds--) {
        uint64_t *at = &table[value >> 54];
        value = mix(value, *at) + (uint64_t)rounds;
        *at += value >> 7;
    }
    return value;
}

int main(int argc, char **argv)
{
    printf("%016llx\n", (unsigned long long)work(argc > 1 ? atol(argv[1]) : 1));
    return 0;
}
