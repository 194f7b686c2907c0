/* The ports of the old timer, the speaker and the clock: what an unprivileged domain finds there. */
#include "kit.h"

static u8 in(u16 port)
{
    u64 value = 0;
    attempt("inb %%dx, %%al", : "=a"(value) : "d"(port), "0"(0ul));
    return caught.vector == VECTOR_NONE ? value : 0xee;
}

static void out(u16 port, u8 value) { attempt("outb %%al, %%dx", : : "a"(value), "d"(port)); }

static void read(const char *when, u16 port) { printf("%s, %x: %02x\n", when, port, in(port)); }

void main(void)
{
    struct { u32 iopl; } set_iopl = { 1 };
    hypercall(physdev_op, 6, &set_iopl);

    for (u16 port = 0x40; port <= 0x43; port++)
        read("timer at first", port);
    read("speaker at first", 0x61);
    read("clock's index at first", 0x70);
    read("clock at first", 0x71);

    /* How Linux looks for a timer to calibrate the TSC with: gate on, speaker off, channel 2 in mode 0, counting
     * down. */
    out(0x61, (in(0x61) & ~2) | 1);
    read("speaker, gate on", 0x61);
    out(0x43, 0xb0);
    out(0x42, 0xff);
    out(0x42, 0xff);
    read("timer, counting", 0x42);
    read("timer, counting", 0x42);
    for (u64 end = now() + 60000000; now() < end;)
        ;
    read("speaker, 60 ms later", 0x61);
    read("timer, 60 ms later", 0x42);
    out(0x43, 0xe8);
    read("timer's status", 0x42);

    out(0x70, 0x0b);
    read("clock's index, set to 0b", 0x70);
    read("clock's register 0b", 0x71);
    out(0x70, 0x8c);
    read("clock's index, set to 8c", 0x70);

    /* wider than a byte */
    u64 value;
    attempt("inw %%dx, %%ax", : "=a"(value) : "d"(0x70), "0"(0ul));
    printf("inw at 70: %lx\n", value);
    attempt("inl %%dx, %%eax", : "=a"(value) : "d"(0x6f), "0"(0ul));
    printf("inl at 6f: %lx\n", value);
    attempt("inl %%dx, %%eax", : "=a"(value) : "d"(0x42), "0"(0ul));
    printf("inl at 42: %lx\n", value);
    attempt("outl %%eax, %%dx", : : "a"(0x11223344), "d"(0x6e));
    read("clock's index, after outl at 6e", 0x70);
    attempt("outw %%ax, %%dx", : : "a"(0x5566), "d"(0xcf8));
    attempt("outl %%eax, %%dx", : : "a"(0x80001234), "d"(0xcf8));
    attempt("inw %%dx, %%ax", : "=a"(value) : "d"(0xcf8), "0"(0ul));
    printf("inw at cf8: %lx\n", value);
    attempt("inl %%dx, %%eax", : "=a"(value) : "d"(0xcf7), "0"(0ul));
    printf("inl at cf7: %lx\n", value);
    attempt("inl %%dx, %%eax", : "=a"(value) : "d"(0xcf8), "0"(0ul));
    printf("inl at cf8: %lx\n", value);
    attempt("outsb", : : "d"(0x70), "S"("\x0d") : "memory");
    read("clock's index, after outs", 0x70);
}
