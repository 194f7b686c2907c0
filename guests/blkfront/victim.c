/* The frontend that behaves: what it wrote, to its disk and to memory, is there. */
#include "blkfront.h"

void fill(u8 *at, u64 seed)
{
    u64 *word = (u64 *)at;
    for (u64 i = 0; i < PAGE / 8; i++)
        word[i] = (seed + 1) * 0x9e3779b97f4a7c15ul + i * 0x0101010101010101ul;
}

int holds(const u8 *at, u64 seed)
{
    static u8 expected[PAGE] aligned(8);
    fill(expected, seed);
    return !memcmp(at, expected, PAGE);
}

#define CANARIES 300
#define BLOCKS 64

static u8 *canary[CANARIES];

static int whole(void)
{
    for (u64 i = 0; i < CANARIES; i++)
        if (!holds(canary[i], 1000 + i))
            return 0;
    for (u64 i = 0; i < BLOCKS; i++)
        if (transfer(&f, OP_READ, 8 * i, ref, 0, 7) || !holds(page, i))
            return 0;
    return 1;
}

static void prepare(void)
{
    for (u64 i = 0; i < CANARIES; i++)
        fill(canary[i] = page_alloc(), 1000 + i);
    for (u64 i = 0; i < BLOCKS; i++) {
        fill(page, i);
        transfer(&f, OP_WRITE, 8 * i, ref, 0, 7);
    }
    printf("ready\n");
}

/* The same again and again, and told: mostly computing, or mostly the disk.  Asked to ('a') it looks at everything, and
 * ends ('q'). */
void worker(int computes)
{
    prepare();
    int good = 1;
    u64 looks = 0;
    for (u64 round = 1, at = 0;; round++) {
        for (int i = 0; i < (computes ? CANARIES : 8); i++)
            good = good && holds(canary[i], 1000 + i);
        for (int i = 0; i < (computes ? round % 16 == 0 : 16); i++, at = (at + 1) % BLOCKS)
            good = good && !transfer(&f, OP_READ, 8 * at, ref, 0, 7) && holds(page, at);
        if (round % 4 == 0)
            printf("round %lu: %s\n", round, good ? "whole" : "broken");
        int key = console_read();
        if (key == 'q')
            break;
        if (key == 'a')
            printf("look %lu: %s\n", ++looks, (good = good && whole()) ? "whole" : "broken");
    }
    tell("closed", front_close(&f));
}

void victim(void)
{
    prepare();
    int good = 1, rounds = 0;
    do {
        good = good && whole();
        rounds++;
    } while (console_read() != 'q');
    tell("whole", good);
    tell("looked more than once", rounds > 1);
    tell("closed", front_close(&f));
}
