/* User mode reaches what its own root maps, whatever the user bits say, and nothing else; also where that root is the
 * kernel's. */
#include "kit.h"

#define ABOVE 0xffff900000000000ul     /* a page of the upper half */
#define BELOW 0x800000ul
#define PLAIN (KERNEL_PTE & ~PTE_U)

user_code(u_read, "mov (%rdi), %rax; ud2");
user_code(u_write, "mov %rsi, (%rdi); mov (%rdi), %rax; ud2");
user_code(u_jump, "jmp *%rdi");
user_code(u_private_call, "mov $7, %esi; int $0x80; mov $8, %esi; int $0x30");

static volatile u64 word = 0x1234;
static u64 code, kernel_word = (u64)&word;

static void run(const char *name, const char *from, const char *end, u64 rdi)
{
    struct frame f = user_frame();
    user_load(from, end - from);
    f.rip = code;
    f.rdi = rdi;
    f.rsi = 0x77;
    user_run(&f);
    printf("%s: %s error=%lx rip+%ld", name, trap_name(f.vector), f.error, f.rip - code);
    if (f.vector == 14 && f.rdi == kernel_word)
        printf(" there");
    else if (f.vector == 14)
        printf(" cr2=%lx", caught_cr2);
    else
        printf(" rax=%lx", f.rax);
    printf("\n");
}
#define RUN(name, of, at) run(name, of, of##_end, at)

static void each(const char *root)
{
    printf("-- %s\n", root);
    RUN("read below, no user bit", u_read, BELOW);
    RUN("write below, no user bit", u_write, BELOW);
    RUN("read below, read-only", u_read, BELOW + PAGE);
    RUN("write below, read-only", u_write, BELOW + PAGE);
    RUN("read below, absent", u_read, BELOW + 2 * PAGE);
    RUN("jump below, no user bit", u_jump, BELOW + 3 * PAGE);
    RUN("jump below, no execute", u_jump, BELOW + 4 * PAGE);
    RUN("read above, with user bit", u_read, ABOVE);
    RUN("read above, without", u_read, ABOVE + PAGE);
    RUN("read the kernel's data", u_read, kernel_word);
    RUN("read above, absent", u_read, ABOVE + 2 * PAGE);
    RUN("read the descriptor tables", u_read, 0xffff820000000000);
    RUN("read the machine-to-physical table", u_read, 0xffff800000000000);
    RUN("read the hole", u_read, 0xffff87fffffff000);
}

static void calls(void)
{
    struct frame f = user_frame();
    user_load(u_private_call, u_private_call_end - u_private_call);
    f.rip = code;
    for (int i = 0; i < 2; i++) {
        user_run(&f);
        printf("private call %lx: %s error=%lx rip+%ld cs=%lx ss=%lx\n", f.rsi, trap_name(f.vector), f.error,
               f.rip - code, f.cs, f.ss);
    }
}

void main(void)
{
    user_start();
    code = USER_CODE;
    /* The oracle's QEMU makes 0x60 of 0x30. */
    struct trap_info private[] = { { 0x30, 3, FLAT_KERNEL_CS, (u64)trap_129 },
                                   { 0x60, 3, FLAT_KERNEL_CS, (u64)trap_129 }, { 0, 0, 0, 0 } };
    hypercall(set_trap_table, private);
    u64 *pages[5];
    for (int i = 0; i < 5; i++)
        pages[i] = page_alloc();
    memcpy(pages[3], u_read, u_read_end - u_read);
    memcpy(pages[4], u_read, u_read_end - u_read);
    *pages[0] = 0x1111, *pages[1] = 0x2222;
    map_page(BELOW, virt_to_mfn(pages[0]) * PAGE | PLAIN);
    map_page(BELOW + PAGE, virt_to_mfn(pages[1]) * PAGE | (PLAIN & ~PTE_W));
    map_page(BELOW + 3 * PAGE, virt_to_mfn(pages[3]) * PAGE | PLAIN);
    map_page(BELOW + 4 * PAGE, virt_to_mfn(pages[4]) * PAGE | PLAIN | PTE_NX);
    map_page(ABOVE, virt_to_mfn(pages[0]) * PAGE | USER_PTE);
    map_page(ABOVE + PAGE, virt_to_mfn(pages[1]) * PAGE | PLAIN);

    each("a root with the lower half");
    calls();

    /* the code page without its user bit */
    pte_set(USER_CODE, 1, *pte_of(USER_CODE, 1) & ~PTE_U);
    mmuext(MMUEXT_INVLPG_LOCAL, USER_CODE, 0);
    RUN("code without the user bit", u_read, BELOW);

    printf("the kernel's root for user mode: %ld\n", mmuext(MMUEXT_NEW_USER_BASEPTR, l4_mfn(), 0));
    each("the kernel's root");
    calls();
    struct frame f = user_frame();
    f.rip = (u64)u_read;
    f.rdi = kernel_word;
    user_run(&f);
    printf("code of the kernel's: %s rip+%ld rax=%lx\n", trap_name(f.vector), f.rip - (u64)u_read, f.rax);

    printf("its own root again: %ld\n", mmuext(MMUEXT_NEW_USER_BASEPTR, user_l4_mfn, 0));
    each("a root with the lower half");

    /* a root that maps the upper page too, and one that maps nothing */
    u64 *l4 = page_alloc(), *nothing = page_alloc();
    l4[0] = *pte_of(0, 4) & ~PTE_U;
    l4[ABOVE >> 39 & 511] = *pte_of(ABOVE, 4) & ~PTE_U;
    page_readonly(l4);
    page_readonly(nothing);
    printf("a root with one upper slot: %ld\n", mmuext(MMUEXT_NEW_USER_BASEPTR, virt_to_mfn(l4), 0));
    each("a root with one upper slot");
    printf("an empty root: %ld\n", mmuext(MMUEXT_NEW_USER_BASEPTR, virt_to_mfn(nothing), 0));
    RUN("anything", u_read, BELOW);
    printf("no root: %ld\n", mmuext(MMUEXT_NEW_USER_BASEPTR, 0, 0));
}
