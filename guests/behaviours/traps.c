/* Every exception that a kernel can raise on itself: what the bounce frame says. */
#include "kit.h"

static u64 rsp_before;

static void show(const char *name)
{
    if (caught.vector == VECTOR_NONE) {
        printf("%s: nothing\n", name);
        return;
    }
    /* rflags without the arithmetic flags; cs whole, since its upper half carries the saved event mask */
    printf("%s: %s error=%lx rip+%ld cs=%lx ss=%lx rflags=%lx", name, trap_name(caught.vector), caught.error,
           caught.rip - attempt_at, caught.cs, caught.ss, caught.rflags & ~0x8d5ul);
    if (caught.vector == 14)
        printf(" cr2=%lx", caught_cr2);
    printf("\n");
}

#define test(name, instruction, ...) do { attempt(instruction, ##__VA_ARGS__); show(name); } while (0)

void main(void)
{
    u64 noncanonical = 0x8000000000000000, absent = 0x12345678;
    u16 selector = 0x1234 & ~4;
    test("divide by zero", "div %%ecx", : : "a"(1), "d"(0), "c"(0));
    test("int3", "int3", :);
    test("int $3", "int $3", :);
    test("int $4", "int $4", :);
    test("ud2", "ud2", :);
    test("non-canonical read", "mov (%0), %%eax", : : "r"(noncanonical) : "eax");
    test("absent read", "mov (%0), %%eax", : : "r"(absent) : "eax");
    test("absent write", "mov %%eax, (%0)", : : "r"(absent) : "eax");
    test("M2P write", "mov %%rax, (%0)", : : "r"(0xffff800000000000) : "eax");
    test("hypervisor read", "mov (%0), %%eax", : : "r"(0xffff830000000000) : "eax");
    test("hypervisor write", "mov %%eax, (%0)", : : "r"(0xffff830000000000) : "eax");
    test("selector beyond the GDT", "mov %0, %%ds", : : "r"(selector));
    test("selector of Xen's TSS", "mov %0, %%ds", : : "r"(0xe040));
    test("selector in no LDT", "mov %0, %%ds", : : "r"(0x7));
    test("load fs flat", "mov %0, %%fs", : : "r"(FLAT_KERNEL_SS));
    test("load fs null", "mov %0, %%fs", : : "r"(0));

    events_on();
    test("ud2, events on", "ud2", :);
    test("int $3, events on", "int $3", :);
    printf("event mask after: %d\n", vcpu_info->evtchn_upcall_mask);
    events_off();

    /* bounce frames are 16-byte aligned: the frame of a trap at a misaligned rsp tells how much was skipped */
    for (int skew = 0; skew < 16; skew += 8) {
        asm volatile("movq $77f, attempt_next; movq $76f, attempt_at; mov %%rsp, %%rbx; and $-16, %%rsp; sub %1, %%rsp;"
                     "mov %%rsp, %0; 76: ud2; 77: mov %%rbx, %%rsp; movq $0, attempt_next"
                     : "=m"(rsp_before) : "r"((u64)skew) : "rbx", "memory");
        printf("rsp skewed by %d: saved rsp is %s\n", skew, caught.rsp == rsp_before ? "exact" : "changed");
    }
}
