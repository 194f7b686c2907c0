/* mmuext_op: every command, legal and not. */
#include "kit.h"

static void say(const char *name, long result) { printf("%s: %ld\n", name, result); }

static void *table(void)
{
    void *page = page_alloc();
    page_readonly(page);
    return page;
}

void main(void)
{
    u64 *l1 = table(), *writable = page_alloc(), *l2 = table(), *l3 = table(), *l4 = table();
    u64 m1 = virt_to_mfn(l1), m2 = virt_to_mfn(l2), m3 = virt_to_mfn(l3), m4 = virt_to_mfn(l4),
        w = virt_to_mfn(writable);

    say("pin L1, empty", mmuext(MMUEXT_PIN_L1_TABLE, m1, 0));
    say("pin L1 again", mmuext(MMUEXT_PIN_L1_TABLE, m1, 0));
    say("pin the same as L2", mmuext(MMUEXT_PIN_L2_TABLE, m1, 0));
    say("pin a writable frame as L1", mmuext(MMUEXT_PIN_L1_TABLE, w, 0));
    say("make a pinned L1 writable", page_writable(l1));
    say("unpin L1", mmuext(MMUEXT_UNPIN_TABLE, m1, 0));
    say("unpin again", mmuext(MMUEXT_UNPIN_TABLE, m1, 0));
    say("make it writable", page_writable(l1));
    page_readonly(l1);
    say("pin L2, empty", mmuext(MMUEXT_PIN_L2_TABLE, m2, 0));
    say("L2 entry -> L1", mmu_update_one(m2 * PAGE, m1 * PAGE | USER_PTE));
    say("pin that L1 as L1", mmuext(MMUEXT_PIN_L1_TABLE, m1, 0));
    say("pin that L1 as L3", mmuext(MMUEXT_PIN_L3_TABLE, m1, 0));
    say("unpin L2 that refers to it", mmuext(MMUEXT_UNPIN_TABLE, m2, 0));
    say("L1 writable while pinned", page_writable(l1));
    say("unpin L1", mmuext(MMUEXT_UNPIN_TABLE, m1, 0));
    say("L1 writable now", page_writable(l1));
    page_readonly(l1);
    say("pin L3, empty", mmuext(MMUEXT_PIN_L3_TABLE, m3, 0));
    say("L3 entry -> L2", mmu_update_one(m3 * PAGE, m2 * PAGE | USER_PTE));
    say("pin L4, empty", mmuext(MMUEXT_PIN_L4_TABLE, m4, 0));
    say("L4 entry 0 -> L3", mmu_update_one(m4 * PAGE, m3 * PAGE | USER_PTE));
    say("new user base pointer", mmuext(MMUEXT_NEW_USER_BASEPTR, m4, 0));
    say("new user base pointer 0", mmuext(MMUEXT_NEW_USER_BASEPTR, 0, 0));
    say("new base pointer: current one", mmuext(MMUEXT_NEW_BASEPTR, l4_mfn(), 0));
    say("copy our kernel slot", mmu_update_one(m4 * PAGE + 511 * 8, *pte_of(VIRT_BASE, 4)));
    say("new base pointer: the new L4", mmuext(MMUEXT_NEW_BASEPTR, m4, 0));
    u64 cr3;
    asm volatile("mov %%cr3, %0" : "=r"(cr3));
    printf("cr3 is the new L4: %d\n", cr3 >> 12 == m4);
    say("unpin the L4 in use", mmuext(MMUEXT_UNPIN_TABLE, m4, 0));
    say("base pointer back", mmuext(MMUEXT_NEW_BASEPTR, l4_mfn(), 0));
    say("the other L4 writable now", page_writable(l4));

    say("flush local", mmuext(MMUEXT_TLB_FLUSH_LOCAL, 0, 0));
    say("flush all", mmuext(MMUEXT_TLB_FLUSH_ALL, 0, 0));
    say("invlpg local", mmuext(MMUEXT_INVLPG_LOCAL, VIRT_BASE, 0));
    say("invlpg local, hypervisor address", mmuext(MMUEXT_INVLPG_LOCAL, 0xffff800000000000, 0));
    say("invlpg local, non-canonical", mmuext(MMUEXT_INVLPG_LOCAL, 1ul << 63, 0));
    say("invlpg all", mmuext(MMUEXT_INVLPG_ALL, VIRT_BASE, 0));
    u64 mask = 1;
    say("flush multi", mmuext(MMUEXT_TLB_FLUSH_MULTI, 0, (u64)&mask));
    say("invlpg multi", mmuext(MMUEXT_INVLPG_MULTI, VIRT_BASE, (u64)&mask));
    say("flush multi, bad mask", mmuext(MMUEXT_TLB_FLUSH_MULTI, 0, 0x1000));
    say("flush cache", mmuext(MMUEXT_FLUSH_CACHE, 0, 0));
    say("flush cache global", mmuext(MMUEXT_FLUSH_CACHE_GLOBAL, 0, 0));
    writable[0] = 5;
    say("clear page, still mapped writable", mmuext(MMUEXT_CLEAR_PAGE, w, 0));
    printf("word: %lu\n", writable[0]);
    say("clear a page table", mmuext(MMUEXT_CLEAR_PAGE, l4_mfn(), 0));
    say("clear frame 0", mmuext(MMUEXT_CLEAR_PAGE, 0, 0));
    u64 *source = page_alloc();
    source[0] = 99;
    say("copy page", mmuext(MMUEXT_COPY_PAGE, w, virt_to_mfn(source)));
    printf("word: %lu\n", writable[0]);
    say("copy from a page table", mmuext(MMUEXT_COPY_PAGE, w, l4_mfn()));
    say("copy to a page table", mmuext(MMUEXT_COPY_PAGE, l4_mfn(), w));
    say("copy from frame 0", mmuext(MMUEXT_COPY_PAGE, w, 0));
    say("mark super", mmuext(MMUEXT_MARK_SUPER, w, 0));
    say("unmark super", mmuext(MMUEXT_UNMARK_SUPER, w, 0));
    say("command 14", mmuext(14, 0, 0));
    say("command 99", mmuext(99, 0, 0));
    say("set ldt, none", mmuext(MMUEXT_SET_LDT, 0, 0));
    say("set ldt, unaligned", mmuext(MMUEXT_SET_LDT, 8, 1));
    say("set ldt, too many", mmuext(MMUEXT_SET_LDT, (u64)source, 8193));
    say("set ldt, in the hypervisor", mmuext(MMUEXT_SET_LDT, 0xffff800000000000, 8));
    say("set ldt, absent page", mmuext(MMUEXT_SET_LDT, 0x1000, 8));
    say("set ldt, none again", mmuext(MMUEXT_SET_LDT, 0, 0));

    struct mmuext_op ops[3] = {
        { MMUEXT_TLB_FLUSH_LOCAL, { 0 }, { 0 } }, { MMUEXT_PIN_L1_TABLE, { 0 }, { 0 } },
        { MMUEXT_TLB_FLUSH_LOCAL, { 0 }, { 0 } },
    };
    u32 done = 99;
    say("three, the second refused", hypercall(mmuext_op, ops, 3, &done, DOMID_SELF));
    printf("done: %u\n", done);
    done = 99;
    say("none", hypercall(mmuext_op, ops, 0, &done, DOMID_SELF));
    printf("done: %u\n", done);
    say("bad array", hypercall(mmuext_op, 0x1000, 1, &done, DOMID_SELF));
    say("huge count", hypercall(mmuext_op, ops, 0x7fffffff, &done, DOMID_SELF));
    say("domain 0", hypercall(mmuext_op, ops, 1, &done, 0));
    say("domain 77", hypercall(mmuext_op, ops, 1, &done, 77));
    say("domain Xen", hypercall(mmuext_op, ops, 1, &done, DOMID_XEN));
}
