/* Code that is written while it runs: by itself, by another mapping, by the next owner of its page. */
#include "check.h"
#define PROGRAM "code"

typedef uint32_t function(void);

/* mov $value, %eax; ret */
static void emit(void *at, uint32_t value)
{
    unsigned char code[6] = { 0xb8, 0, 0, 0, 0, 0xc3 };
    memcpy(code + 1, &value, 4);
    memcpy(at, code, 6);
}

static int rewritten_in_place(void)
{
    char *page = pages(1, PROT_READ | PROT_WRITE | PROT_EXEC);
    for (uint32_t i = 0; i < 3000; i++) {
        char *at = page + i % 7 * 16;
        emit(at, i);
        EXPECT(((function *)at)() == i);
    }
    return 1;
}

static int a_loop_that_changes_itself(void)
{
    /* Each turn adds 1 to the immediate of the add in front of it: 0 + 1 + 2 + ... */
    unsigned char code[] = {
        0x31, 0xc0,                                     /* xor %eax, %eax */
        0xb9, 100, 0, 0, 0,                             /* mov $100, %ecx */
        0x05, 0, 0, 0, 0,                               /* 1: add $0, %eax */
        0xff, 0x05, 0xf6, 0xff, 0xff, 0xff,             /* incl the immediate of the add */
        0xff, 0xc9,                                     /* dec %ecx */
        0x75, 0xf1,                                     /* jnz 1b */
        0xc3,
    };
    char *page = pages(1, PROT_READ | PROT_WRITE | PROT_EXEC);
    memcpy(page, code, sizeof(code));
    EXPECT(((function *)page)() == 99 * 100 / 2);
    return 1;
}

static int through_another_mapping(void)
{
    int file = memfd_create("code", 0);
    ftruncate(file, PAGE);
    char *writable = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    char *executable = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, file, 0);
    for (uint32_t i = 0; i < 1000; i++) {
        emit(writable + i % 3 * 64, i);
        EXPECT(((function *)(executable + i % 3 * 64))() == i);
    }
    for (uint32_t i = 0; i < 20; i++) {         /* and by the kernel */
        unsigned char code[6];
        emit(code, 5000 + i);
        EXPECT(pwrite(file, code, 6, 128) == 6);
        EXPECT(((function *)(executable + 128))() == 5000 + i);
    }
    return 1;
}

static int written_and_executed_in_turns(void)
{
    char *page = pages(1, PROT_READ | PROT_WRITE);
    for (uint32_t i = 0; i < 300; i++) {
        EXPECT(mprotect(page, PAGE, PROT_READ | PROT_WRITE) == 0);
        emit(page, i);
        EXPECT(mprotect(page, PAGE, PROT_READ | PROT_EXEC) == 0);
        EXPECT(((function *)page)() == i);
    }
    return 1;
}

static int in_a_page_that_was_freed(void)
{
    for (uint32_t i = 0; i < 300; i++) {
        char *page = pages(4, PROT_READ | PROT_WRITE | PROT_EXEC);
        for (int n = 0; n < 4; n++)
            emit(page + n * PAGE, i * 4 + n);
        for (uint32_t n = 0; n < 4; n++)
            EXPECT(((function *)(page + n * PAGE))() == i * 4 + n);
        munmap(page, 4 * PAGE);
    }
    return 1;
}

static int in_the_child_and_not_in_the_parent(void)
{
    char *page = pages(1, PROT_READ | PROT_WRITE | PROT_EXEC);
    emit(page, 1);
    EXPECT(((function *)page)() == 1);
    for (uint32_t i = 2; i < 40; i++) {
        pid_t child = fork();
        if (child == 0) {
            emit(page, i);
            _exit(((function *)page)() == i ? 0 : 1);
        }
        int status;
        waitpid(child, &status, 0);
        EXPECT(status == 0);
        EXPECT(((function *)page)() == 1);
    }
    return 1;
}

static int read_from_a_pipe_over_old_code(void)
{
    int ends[2];
    char *page = pages(1, PROT_READ | PROT_WRITE | PROT_EXEC);
    EXPECT(pipe(ends) == 0);
    for (uint32_t i = 0; i < 300; i++) {
        unsigned char code[6];
        emit(code, i);
        EXPECT(write(ends[1], code, 6) == 6 && read(ends[0], page + 8, 6) == 6);
        EXPECT(((function *)(page + 8))() == i);
    }
    return 1;
}

static int moved(void)
{
    char *page = pages(2, PROT_READ | PROT_WRITE | PROT_EXEC);
    for (uint32_t i = 0; i < 200; i++) {
        emit(page, i);
        emit(page + PAGE, ~i);
        EXPECT(((function *)page)() == i && ((function *)(page + PAGE))() == ~i);
        EXPECT(mremap(page, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, page + PAGE) == page + PAGE);
        EXPECT(((function *)(page + PAGE))() == i);
        EXPECT(mmap(page, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                    0) == page);
    }
    return 1;
}

int main(void)
{
    CHECK(rewritten_in_place);
    CHECK(a_loop_that_changes_itself);
    CHECK(through_another_mapping);
    CHECK(written_and_executed_in_turns);
    CHECK(in_a_page_that_was_freed);
    CHECK(in_the_child_and_not_in_the_parent);
    CHECK(read_from_a_pipe_over_old_code);
    CHECK(moved);
}
