/* So many rounds of arithmetic, loads, stores and calls, in a few pages of its own: work that needs nobody. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t table[1024];

__attribute__((noinline)) static uint64_t mix(uint64_t value, uint64_t with)
{
    return (value ^ with) * 0x9e3779b97f4a7c15u;
}

int main(int argc, char **argv)
{
    uint64_t value = 1;
    for (long rounds = argc > 1 ? atol(argv[1]) : 1; rounds; rounds--) {
        uint64_t *at = &table[value >> 54];
        value = mix(value, *at) + (uint64_t)rounds;
        *at += value >> 7;
    }
    printf("%016llx\n", (unsigned long long)value);
    return 0;
}
