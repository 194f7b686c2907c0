/* Writing to a page table as if it were memory: the hypervisor carries the write out, if it may. */
#include "kit.h"

static u8 window[4096] aligned(4096);
static volatile u64 *entry;

static void say(const char *name)
{
    printf("%s: %s, flags %lx, %s\n", name, outcome(), *entry & (0xfff | PTE_NX) & ~(PTE_A | PTE_D | PTE_U | PTE_G),
           (*entry & PTE_FRAME) >> 12 == virt_to_mfn(window) ? "own frame" : (*entry & PTE_FRAME) ? "other frame"
               : "no frame");
}

void main(void)
{
    u64 original, good, other;
    printf("enable writable page tables: %ld\n", hypercall(vm_assist, VMASST_CMD_enable,
                                                           VMASST_TYPE_writable_pagetables));
    entry = pte_of((u64)window, 1);
    original = *entry & ~(1ul << 52);
    good = original;
    other = virt_to_mfn(page_alloc()) * PAGE | USER_PTE;
    window[0] = 1;

    attempt("movq %1, (%0)", : : "r"(entry), "r"(other) : "memory");
    say("mov");
    attempt("movq %1, (%0)", : : "r"(entry), "r"(good) : "memory");
    say("mov back");
    u64 register_value = other;
    attempt("xchgq %0, (%1)", : "+r"(register_value) : "r"(entry) : "memory");
    say("xchg");
    printf("xchg gave back our frame: %d\n", (register_value & PTE_FRAME) == (good & PTE_FRAME));
    register_value = good;
    u64 expected = *entry;
    attempt("lock cmpxchgq %2, (%1)", : "+a"(expected) : "r"(entry), "r"(register_value) : "memory");
    say("cmpxchg that matches");
    expected = 0x1234;
    attempt("lock cmpxchgq %2, (%1)", : "+a"(expected) : "r"(entry), "r"(other) : "memory");
    say("cmpxchg that does not");
    printf("cmpxchg gave rax our frame: %d\n", (expected & PTE_FRAME) == (good & PTE_FRAME));
    u8 zf = 0;
    expected = *entry;
    attempt("lock cmpxchgq %3, (%2); setz %1", : "+a"(expected), "=q"(zf) : "r"(entry), "r"(good) : "memory");
    printf("cmpxchg of the same: zf=%d\n", zf);
    attempt("lock andq %1, (%0)", : : "r"(entry), "r"(~PTE_W) : "memory");
    say("and clears W");
    attempt("lock orq %1, (%0)", : : "r"(entry), "r"(PTE_W) : "memory");
    say("or sets W");
    u8 carry = 0;
    attempt("lock btrq $1, (%1); setc %0", : "=q"(carry) : "r"(entry) : "memory");
    say("btr W");
    printf("btr carry: %d\n", carry);
    attempt("lock btsq $1, (%1); setc %0", : "=q"(carry) : "r"(entry) : "memory");
    say("bts W");
    printf("bts carry: %d\n", carry);
    attempt("xorq %1, (%0)", : : "r"(entry), "r"(PTE_W) : "memory");
    say("xor W");
    attempt("addq %1, (%0)", : : "r"(entry), "r"(PTE_W) : "memory");
    say("add W");
    attempt("movl %1, (%0)", : : "r"(entry), "r"((u32)good) : "memory");
    say("mov of 4 bytes");
    attempt("movl %1, 4(%0)", : : "r"(entry), "r"((u32)(good >> 32)) : "memory");
    say("mov of the upper 4 bytes");
    attempt("movw %w1, (%0)", : : "r"(entry), "r"((u32)good) : "memory");
    say("mov of 2 bytes");
    attempt("movb %b1, (%0)", : : "r"(entry), "q"((u32)good) : "memory");
    say("mov of 1 byte");
    attempt("movb $0x67, (%0)", : : "r"(entry) : "memory");
    say("mov of an immediate byte");
    u64 twice[2] = { good, 0 };
    u64 *target = (u64 *)entry;
    attempt("movsq", : "+D"(target), "+S"((u64 *){ (u64 *)twice }) : : "memory");
    say("movs");
    target = (u64 *)entry;
    attempt("stosq", : "+D"(target) : "a"(good) : "memory");
    say("stos");
    attempt("movnti %1, (%0)", : : "r"(entry), "r"(good) : "memory");
    say("movnti");
    attempt("movq %1, 4(%0)", : : "r"(entry), "r"(0ul) : "memory");
    say("mov that is not aligned");
    attempt("lock xaddq %1, (%0)", : : "r"(entry), "r"(0ul) : "memory");
    say("xadd of 0");
    attempt("push (%0); pop (%0)", : : "r"(entry) : "memory");
    say("pop of the same");
    attempt("movq $0, (%0)", : : "r"(entry) : "memory");
    say("clear");
    attempt("movq %1, (%0)", : : "r"(entry), "r"(good) : "memory");
    say("restore");

    u64 forbidden = l4_mfn() * PAGE | KERNEL_PTE;
    attempt("movq %1, (%0)", : : "r"(entry), "r"(forbidden) : "memory");
    say("mov of a forbidden value");
    printf("error code: %lx\n", caught.error);
    forbidden = KERNEL_PTE;
    attempt("movq %1, (%0)", : : "r"(entry), "r"(forbidden) : "memory");
    say("mov of frame 0");
    attempt("xchgq %0, (%1)", : "+r"(forbidden) : "r"(entry) : "memory");
    say("xchg of frame 0");
    volatile u64 *l2 = pte_of((u64)window, 2) + 100;
    attempt("movq $0, (%0)", : : "r"(l2) : "memory");
    printf("mov to an L2: %s\n", outcome());
    l2 = pte_of((u64)window, 4);
    attempt("movq $0, (%0)", : : "r"(l2) : "memory");
    printf("mov to the L4: %s\n", outcome());
    user_start();
    printf("disable: %ld\n", hypercall(vm_assist, VMASST_CMD_disable, VMASST_TYPE_writable_pagetables));
    attempt("movq %1, (%0)", : : "r"(entry), "r"(good) : "memory");
    say("mov, the assist off");
}
