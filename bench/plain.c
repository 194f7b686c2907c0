/* A process of the host's beside a domain (bench/neighbours.py): it "computes" as tests' worker does
 * (guests/blkfront/victim.c), only "spins", or "writes" to more memory than any cache holds. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE     4096
#define CANARIES 300
#define MUCH     (128l << 20)

static void fill(uint8_t *at, uint64_t seed)
{
    uint64_t *word = (uint64_t *)at;
    for (uint64_t i = 0; i < PAGE / 8; i++)
        word[i] = (seed + 1) * 0x9e3779b97f4a7c15ul + i * 0x0101010101010101ul;
}

static void computes(uint8_t *memory)
{
    static uint8_t expected[PAGE] __attribute__((aligned(8)));
    for (uint64_t i = 0; i < CANARIES; i++)
        fill(memory + i * PAGE, i);
    for (;;)
        for (uint64_t i = 0; i < CANARIES; i++) {
            fill(expected, i);
            if (memcmp(memory + i * PAGE, expected, PAGE))
                abort();
        }
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    uint8_t *memory = malloc(MUCH);
    puts("go");
    fflush(stdout);
    if (!strcmp(what, "computes"))
        computes(memory);
    while (!strcmp(what, "writes"))
        for (int value = 0; value < 256; value++) {
            memset(memory, value, MUCH);
            __asm__ volatile("" : : "r"(memory) : "memory");
        }
    while (!strcmp(what, "spins"))
        __asm__ volatile("");
    return 1;
}
