/* mmu_update and update_va_mapping: what may be done, what is refused, and how much was done before a refusal. */
#include "kit.h"

static u8 window[4096] aligned(4096);   /* an L1 entry to play with */

static void say(const char *name, long result) { printf("%s: %ld\n", name, result); }

static u64 flags_of(const void *va)
{
    /* Xen adds USER to a kernel's own entries and GLOBAL to its users' */
    return *pte_of((u64)va, 1) & 0xfff & ~(PTE_U | PTE_G | PTE_A | PTE_D);
}

void main(void)
{
    u64 entry = pte_machine((u64)window, 1), original = *pte_of((u64)window, 1);
    u64 *data = page_alloc(), *other = page_alloc();
    u64 data_mfn = virt_to_mfn(data), other_mfn = virt_to_mfn(other);

    say("map a data frame", mmu_update_one(entry, data_mfn * PAGE | KERNEL_PTE));
    printf("entry flags: %lx\n", flags_of(window));
    mmuext(MMUEXT_INVLPG_LOCAL, (u64)window, 0);
    data[0] = 0x1234;
    printf("seen through the window: %lx\n", *(volatile u64 *)window);
    say("map it read-only", mmu_update_one(entry, data_mfn * PAGE | PTE_P));
    mmuext(MMUEXT_INVLPG_LOCAL, (u64)window, 0);
    attempt("movq $1, (%0)", : : "r"(window) : "memory");
    printf("write: %s\n", outcome());
    say("map with PSE", mmu_update_one(entry, data_mfn * PAGE | KERNEL_PTE | PTE_PSE));
    printf("entry flags: %lx\n", flags_of(window));
    say("map global", mmu_update_one(entry, data_mfn * PAGE | KERNEL_PTE | PTE_G));
    printf("entry flags: %lx\n", flags_of(window));
    say("map with PCD", mmu_update_one(entry, data_mfn * PAGE | KERNEL_PTE | PTE_PCD));
    printf("entry flags: %lx\n", flags_of(window));
    say("map with PWT", mmu_update_one(entry, data_mfn * PAGE | KERNEL_PTE | PTE_PWT));
    say("map with PCD and PWT", mmu_update_one(entry, data_mfn * PAGE | KERNEL_PTE | PTE_PWT | PTE_PCD));
    say("map with available bits 9-11", mmu_update_one(entry, data_mfn * PAGE | KERNEL_PTE | 0xe00));
    printf("entry flags: %lx\n", flags_of(window));
    say("map with bit 52", mmu_update_one(entry, data_mfn * PAGE | KERNEL_PTE | 1ul << 52));
    say("map with bits 53-58", mmu_update_one(entry, data_mfn * PAGE | KERNEL_PTE | 0x3ful << 53));
    say("map with bit 62", mmu_update_one(entry, data_mfn * PAGE | KERNEL_PTE | 1ul << 62));
    say("map with bit 51", mmu_update_one(entry, data_mfn * PAGE | KERNEL_PTE | 1ul << 51));
    say("map no-execute", mmu_update_one(entry, data_mfn * PAGE | KERNEL_PTE | PTE_NX));
    mmuext(MMUEXT_INVLPG_LOCAL, (u64)window, 0);
    attempt("jmp *%0", : : "r"(window) : "memory");
    printf("execute: %s, error=%lx\n", trap_name(caught.vector), caught.error);
    say("map user", mmu_update_one(entry, data_mfn * PAGE | USER_PTE));
    printf("entry flags: %lx\n", flags_of(window));
    say("not present, any bits", mmu_update_one(entry, 0xfffffffffffffffe));
    printf("entry: %lx\n", *pte_of((u64)window, 1));
    say("clear", mmu_update_one(entry, 0));
    mmuext(MMUEXT_INVLPG_LOCAL, (u64)window, 0);
    attempt("movb (%0), %%al", : : "r"(window) : "rax");
    printf("read: %s\n", outcome());

    say("preserve A/D", mmu_update_one(entry | MMU_PT_UPDATE_PRESERVE_AD, data_mfn * PAGE | PTE_P | PTE_W));
    *(volatile u64 *)window = 7;
    printf("A and D after a write: %lx\n", *pte_of((u64)window, 1) & 0x60);
    say("preserve A/D again", mmu_update_one(entry | MMU_PT_UPDATE_PRESERVE_AD, data_mfn * PAGE | PTE_P | PTE_W));
    printf("A and D: %lx\n", *pte_of((u64)window, 1) & 0x60);
    say("normal update", mmu_update_one(entry, data_mfn * PAGE | PTE_P | PTE_W));
    printf("A and D: %lx\n", *pte_of((u64)window, 1) & 0x60);
    say("no-translate update", mmu_update_one(entry | MMU_PT_UPDATE_NO_TRANSLATE, data_mfn * PAGE | PTE_P | PTE_W));
    say("misaligned pointer (4)", mmu_update_one(entry | 4, data_mfn * PAGE | PTE_P | PTE_W));
    mmu_update_one(entry, original);

    struct mmu_update many[4] = {
        { entry, data_mfn * PAGE | KERNEL_PTE }, { entry, other_mfn * PAGE | KERNEL_PTE },
        { entry, 0x123456789 * PAGE | KERNEL_PTE }, { entry, data_mfn * PAGE | KERNEL_PTE },
    };
    u32 done = 99;
    say("four updates, the third refused", hypercall(mmu_update, many, 4, &done, DOMID_SELF));
    printf("done: %u, second in place: %d\n", done, (*pte_of((u64)window, 1) & PTE_FRAME) >> 12 == other_mfn);
    done = 99;
    say("no updates", hypercall(mmu_update, many, 0, &done, DOMID_SELF));
    printf("done: %u\n", done);
    say("two good updates", hypercall(mmu_update, many, 2, &done, DOMID_SELF));
    printf("done: %u\n", done);
    say("bad array address", hypercall(mmu_update, 0x1000, 1, &done, DOMID_SELF));
    printf("done: %u\n", done);
    say("array in the hypervisor", hypercall(mmu_update, 0xffff830000000000, 1, &done, DOMID_SELF));
    say("bad done address", hypercall(mmu_update, many, 1, 0x1000, DOMID_SELF));
    say("unknown command", mmu_update_one(3 | entry, 0));
    say("preempted count from nowhere", hypercall(mmu_update, many, 0x80000001, &done, DOMID_SELF));
    say("huge count", hypercall(mmu_update, many, 0x7fffffff, &done, DOMID_SELF));
    printf("done: %u\n", done);
    say("domain 5", hypercall(mmu_update, many, 1, &done, 5));
    say("domain Xen", hypercall(mmu_update, many, 1, &done, DOMID_XEN));
    say("domain IO", hypercall(mmu_update, many, 1, &done, DOMID_IO));
    static const struct { const char *name; u64 offset, value; } io[] = {
        { "flags of the entry there", 0, PTE_P | PTE_W }, { "nothing", 0, 0 },
        { "no frame", 0, 0x123456789 * PAGE | KERNEL_PTE },
        { "no memory", 0, 0xfee00 * PAGE | KERNEL_PTE }, { "caching off", 0, PTE_PCD | KERNEL_PTE },
    };
    for (unsigned i = 0; i < sizeof(io) / sizeof(*io); i++) {
        u64 mfn = io[i].value < PAGE && io[i].value ? other_mfn : 0;
        mmu_update_one(entry, other_mfn * PAGE | KERNEL_PTE);
        struct mmu_update one = { entry, mfn * PAGE | io[i].value };
        printf("domain IO, %s: %ld\n", io[i].name, hypercall(mmu_update, &one, 1, &done, DOMID_IO));
    }
    struct mmu_update m2p = { data_mfn * PAGE | MMU_MACHPHYS_UPDATE, virt_to_pfn(data) };
    say("domain IO, machphys", hypercall(mmu_update, &m2p, 1, &done, DOMID_IO));
    struct mmu_update word = { data_mfn * PAGE | 8, 0x1111 };
    say("domain IO, a word in a data frame", hypercall(mmu_update, &word, 1, &done, DOMID_IO));
    struct mmuext_op flush = { .cmd = MMUEXT_TLB_FLUSH_LOCAL },
        pin = { .cmd = MMUEXT_PIN_L1_TABLE, .arg1.mfn = other_mfn };
    say("domain IO, a flush", hypercall(mmuext_op, &flush, 1, &done, DOMID_IO));
    say("domain IO, a pin", hypercall(mmuext_op, &pin, 1, &done, DOMID_IO));
    struct mmuext_op clear = { .cmd = MMUEXT_CLEAR_PAGE, .arg1.mfn = other_mfn };
    say("domain IO, a page cleared", hypercall(mmuext_op, &clear, 1, &done, DOMID_IO));
    say("domain IO, no operations", hypercall(mmuext_op, &clear, 0, &done, DOMID_IO));
    say("domain IO, va mapping", hypercall(update_va_mapping_otherdomain, window, data_mfn * PAGE | KERNEL_PTE,
                                           UVMF_INVLPG, DOMID_IO));
    say("domain IO, va mapping of nothing", hypercall(update_va_mapping_otherdomain, window, 0, UVMF_INVLPG, DOMID_IO));
    say("table owner 5", hypercall(mmu_update, many, 1, &done, DOMID_SELF | 6 << 16));
    say("table owner self", hypercall(mmu_update, many, 1, &done, DOMID_SELF | (DOMID_SELF + 1) << 16));
    mmu_update_one(entry, original);

    say("machphys of our own", mmu_update_one(data_mfn * PAGE | MMU_MACHPHYS_UPDATE, 0x777));
    printf("m2p: %lx\n", mfn_to_pfn(data_mfn));
    mmu_update_one(data_mfn * PAGE | MMU_MACHPHYS_UPDATE, virt_to_pfn(data));
    say("machphys of a foreign frame", mmu_update_one(0 * PAGE | MMU_MACHPHYS_UPDATE, 0x777));
    say("machphys of no frame", mmu_update_one(0x123456789 * PAGE | MMU_MACHPHYS_UPDATE, 0x777));

    /* an ordinary frame of ours may be written through mmu_update, as memory */
    say("update of a word in a data frame", mmu_update_one(data_mfn * PAGE | 8, 0xdeadbeefcafe));
    printf("word: %lx\n", data[1]);
    say("update in a frame of Xen's", mmu_update_one(0, 0));
    say("update in no frame", mmu_update_one(0x123456789 * PAGE, 0));

    say("va mapping", hypercall(update_va_mapping, window, data_mfn * PAGE | KERNEL_PTE, UVMF_INVLPG | UVMF_LOCAL));
    data[0] = 0x4321;
    printf("seen: %lx\n", *(volatile u64 *)window);
    say("va mapping, no flush", hypercall(update_va_mapping, window, other_mfn * PAGE | KERNEL_PTE, UVMF_NONE));
    say("va mapping, flush all", hypercall(update_va_mapping, window, other_mfn * PAGE | KERNEL_PTE,
                                           UVMF_TLB_FLUSH | UVMF_ALL));
    printf("seen: %lx\n", *(volatile u64 *)window);
    say("va mapping, flush type 3", hypercall(update_va_mapping, window, other_mfn * PAGE | KERNEL_PTE, 3));
    u64 mask = 1;
    say("va mapping, invlpg with a vcpu mask", hypercall(update_va_mapping, window, other_mfn * PAGE | KERNEL_PTE,
                                                         (u64)&mask | UVMF_INVLPG));
    say("va mapping, bad mask address", hypercall(update_va_mapping, window, other_mfn * PAGE | KERNEL_PTE,
                                                  0x1000 | UVMF_INVLPG));
    say("va mapping, unaligned va", hypercall(update_va_mapping, window + 5, data_mfn * PAGE | KERNEL_PTE,
                                              UVMF_INVLPG));
    say("va mapping where no table is", hypercall(update_va_mapping, 0x1000, data_mfn * PAGE | KERNEL_PTE,
                                                  UVMF_INVLPG));
    say("va mapping in the hypervisor", hypercall(update_va_mapping, 0xffff800000000000, data_mfn * PAGE | KERNEL_PTE,
                                                  UVMF_INVLPG));
    say("va mapping at a non-canonical address", hypercall(update_va_mapping, 0x900000000000,
                                                           data_mfn * PAGE | KERNEL_PTE, UVMF_INVLPG));
    say("va mapping of no frame", hypercall(update_va_mapping, window, 0x123456789 * PAGE | KERNEL_PTE, UVMF_INVLPG));
    say("va mapping of a page table", hypercall(update_va_mapping, window, l4_mfn() * PAGE | KERNEL_PTE, UVMF_INVLPG));
    say("va mapping of a page table, read-only", hypercall(update_va_mapping, window, l4_mfn() * PAGE | PTE_P,
                                                           UVMF_INVLPG));
    say("va mapping, clear", hypercall(update_va_mapping, window, 0, UVMF_INVLPG));
    say("other domain is self", hypercall(update_va_mapping_otherdomain, window, data_mfn * PAGE | KERNEL_PTE,
                                          UVMF_INVLPG, DOMID_SELF));
    say("other domain 0", hypercall(update_va_mapping_otherdomain, window, data_mfn * PAGE | KERNEL_PTE, UVMF_INVLPG,
                                    0));
    say("other domain 77", hypercall(update_va_mapping_otherdomain, window, data_mfn * PAGE | KERNEL_PTE, UVMF_INVLPG,
                                     77));
    mmu_update_one(entry, original);
}
