/* Address spaces: forked, shared, protected, moved and thrown away. */
#include "check.h"
#define PROGRAM "memory"

static int copies_on_write(void)
{
    enum { PAGES = 64 };
    uint32_t *memory = pages(PAGES, PROT_READ | PROT_WRITE);
    for (int i = 0; i < PAGES; i++)
        memory[i * 1024] = i;
    for (int round = 0; round < 10; round++) {
        pid_t child = fork();
        if (child == 0) {
            for (int i = 0; i < PAGES; i++) {
                if (memory[i * 1024] != (uint32_t)(i + round))
                    _exit(1);
                memory[i * 1024] = 0xdead;
            }
            _exit(0);
        }
        int status;
        waitpid(child, &status, 0);
        EXPECT(status == 0);
        for (int i = 0; i < PAGES; i++) {
            EXPECT(memory[i * 1024] == (uint32_t)(i + round));
            memory[i * 1024]++;
        }
    }
    return 1;
}

static int a_storm_of_processes(void)
{
    int sum = 0, status;
    for (int i = 0; i < 150; i++) {
        if (fork() == 0) {
            if (fork() == 0)
                _exit(i & 1);
            wait(&status);
            _exit(WEXITSTATUS(status) + 1);
        }
        if (i % 8 == 7)
            while (wait(&status) > 0)
                sum += WEXITSTATUS(status);
    }
    while (wait(&status) > 0)
        sum += WEXITSTATUS(status);
    EXPECT(sum == 150 + 75, "%d", sum);
    return 1;
}

static int a_storm_of_programs(void)
{
    int status;
    for (int i = 0; i < 40; i++) {
        char number[12];
        snprintf(number, sizeof(number), "%d", i);
        if (fork() == 0) {
            execl("/proc/self/exe", "memory", number, NULL);
            _exit(255);
        }
        wait(&status);
        EXPECT(WEXITSTATUS(status) == i, "%x", status);
    }
    return 1;
}

static uint32_t seed = 12345;

static uint32_t random_below(uint32_t limit)
{
    seed = seed * 1103515245 + 12345;
    return (seed >> 8) % limit;
}

/* A stretch of address space under random operations, and what has to be in it. */
static int a_model_of_mappings(void)
{
    enum { PAGES = 96, GONE = -1 };
    static int what[PAGES], protection[PAGES];
    static const int protections[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC };
    catch_all();
    char *base = pages(PAGES, PROT_READ | PROT_WRITE);
    for (int i = 0; i < PAGES; i++)
        protection[i] = 2;
    for (int round = 1; round < 1500; round++) {
        int first = random_below(PAGES), count = 1 + random_below(8), target;
        if (first + count > PAGES)
            count = PAGES - first;
        char *at = base + first * PAGE;
        switch (random_below(6)) {
        case 0:
            EXPECT(munmap(at, count * PAGE) == 0);
            for (int i = first; i < first + count; i++)
                what[i] = GONE;
            break;
        case 1:
            EXPECT(mmap(at, count * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                        0) == at);
            for (int i = first; i < first + count; i++)
                what[i] = 0, protection[i] = 2;
            break;
        case 2:
            for (int i = first; i < first + count; i++)
                if (what[i] != GONE) {
                    protection[i] = random_below(4);
                    EXPECT(mprotect(base + i * PAGE, PAGE, protections[protection[i]]) == 0);
                }
            break;
        case 3:
            target = random_below(PAGES);
            if (what[first] != GONE && target != first) {
                char *to = base + target * PAGE;
                EXPECT(mremap(at, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
                what[target] = what[first], protection[target] = protection[first], what[first] = GONE;
            }
            break;
        case 4:
            if (what[first] != GONE) {
                EXPECT(madvise(at, PAGE, MADV_DONTNEED) == 0);
                what[first] = 0;
            }
            break;
        default:
            for (volatile int i = first; i < first + count; i++) {
                volatile int expected = what[i] == GONE || protection[i] != 2 ? SIGSEGV : 0;
                int found = SIGNAL_OF(*(volatile int *)(base + i * PAGE) = round);
                EXPECT(found == expected, "round %d page %d: signal %d", round, i, found);
                if (!found)
                    what[i] = round;
            }
        }
        for (int n = 0; n < 6; n++) {
            volatile int i = random_below(PAGES), expected = what[i] == GONE || protection[i] == 0 ? SIGSEGV : 0;
            volatile int word = 0;
            int found = SIGNAL_OF(word = *(volatile int *)(base + i * PAGE));
            EXPECT(found == expected, "round %d page %d: signal %d", round, i, found);
            EXPECT(found || word == what[i], "round %d page %d: %d, not %d", round, i, word, what[i]);
        }
    }
    return 1;
}

static int shared_memory(void)
{
    enum { COUNT = 20000 };
    volatile uint64_t *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 3; i++)
        if (fork() == 0) {
            for (int n = 0; n < COUNT; n++) {
                __atomic_fetch_add(&shared[0], 1, __ATOMIC_SEQ_CST);
                if (n % 1000 == 0)
                    sched_yield();
            }
            _exit(0);
        }
    while (wait(NULL) > 0)
        ;
    EXPECT(shared[0] == 3 * COUNT, "%lu", shared[0]);
    return 1;
}

static int words_through_pipes(void)
{
    int there[2], back[2];
    uint32_t word = 0;
    EXPECT(pipe(there) == 0 && pipe(back) == 0);
    if (fork() == 0) {
        while (read(there[0], &word, 4) == 4 && word != 0xffffffff) {
            word = word * 3 + 1;
            write(back[1], &word, 4);
        }
        _exit(0);
    }
    for (uint32_t i = 0; i < 1000; i++) {
        word = i;
        EXPECT(write(there[1], &word, 4) == 4 && read(back[0], &word, 4) == 4 && word == i * 3 + 1);
    }
    word = 0xffffffff;
    write(there[1], &word, 4);
    return 1;
}

static int much_memory_comes_and_goes(void)
{
    enum { PAGES = 1500 };      /* fits into the smallest guest */
    for (int round = 1; round <= 3; round++) {
        uint32_t *memory = pages(PAGES, PROT_READ | PROT_WRITE);
        for (int i = 0; i < PAGES; i++) {
            EXPECT(memory[i * 1024 + 5] == 0);
            memory[i * 1024 + 5] = i * round;
        }
        for (int i = 0; i < PAGES; i++)
            EXPECT(memory[i * 1024 + 5] == (uint32_t)(i * round));
        munmap(memory, PAGES * PAGE);
    }
    return 1;
}

static int the_stack_grows(void)
{
    volatile char page[2 << 20];
    for (size_t i = sizeof(page); i; i -= PAGE)
        page[i - 1] = (char)i;
    return page[sizeof(page) - 1] == 0;
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return atoi(argv[1]);
    CHECK(copies_on_write);
    CHECK(a_storm_of_processes);
    CHECK(a_storm_of_programs);
    CHECK(a_model_of_mappings);
    CHECK(shared_memory);
    CHECK(words_through_pipes);
    CHECK(much_memory_comes_and_goes);
    CHECK(the_stack_grows);
}
