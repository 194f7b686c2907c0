/* What a guest must not get away with: each attempt is refused, and the entry it aimed at is as it was. */
#include "kit.h"

static u8 window[4096] aligned(4096);

/* try an update of `entry` (machine address, visible at `seen`) */
static void strike(const char *name, u64 entry, volatile u64 *seen, u64 value)
{
    u64 before = *seen;
    long result = mmu_update_one(entry, value);
    printf("%s: %ld, entry %s\n", name, result, *seen == before ? "unchanged" : "changed");
}

static void *table(void)
{
    void *page = page_alloc();
    page_readonly(page);
    return page;
}

void main(void)
{
    u64 entry = pte_machine((u64)window, 1);
    volatile u64 *seen = pte_of((u64)window, 1);
    u64 *l4 = (u64 *)start_info->pt_base;
    u64 l1 = virt_to_mfn((void *)seen), l2 = virt_to_mfn(pte_of((u64)window, 2)),
        l3 = virt_to_mfn(pte_of((u64)window, 3));
    u64 l4_entry0 = l4_mfn() * PAGE, data = virt_to_mfn(page_alloc());

    strike("L1: frame 0 of the machine", entry, seen, KERNEL_PTE);
    strike("L1: frame 0, read-only", entry, seen, PTE_P);
    strike("L1: a frame of Xen's", entry, seen, (l4[256] & PTE_FRAME) | KERNEL_PTE);
    strike("L1: no such frame", entry, seen, 0x7fffffff * PAGE | KERNEL_PTE);
    strike("L1: highest frame", entry, seen, PTE_FRAME | KERNEL_PTE);
    strike("L1: own L1 writable", entry, seen, l1 * PAGE | KERNEL_PTE);
    strike("L1: own L2 writable", entry, seen, l2 * PAGE | KERNEL_PTE);
    strike("L1: own L3 writable", entry, seen, l3 * PAGE | KERNEL_PTE);
    strike("L1: own L4 writable", entry, seen, l4_mfn() * PAGE | KERNEL_PTE);
    strike("L1: own L1 writable, not accessed", entry, seen, l1 * PAGE | PTE_P | PTE_W);
    strike("L1: shared info twice", entry, seen, start_info->shared_info | KERNEL_PTE);

    u64 l2_entry = pte_machine((u64)window, 2) + 8 * 100, l3_entry = pte_machine((u64)window, 3) + 8;
    volatile u64 *l2_seen = pte_of((u64)window, 2) + 100, *l3_seen = pte_of((u64)window, 3) + 1;
    strike("L2: a writable data frame", l2_entry, l2_seen, data * PAGE | USER_PTE);
    strike("L2: 2 MB page", l2_entry, l2_seen, (data & ~511ul) * PAGE | USER_PTE | PTE_PSE);
    strike("L2: an L2", l2_entry, l2_seen, l2 * PAGE | USER_PTE);
    strike("L2: an L3", l2_entry, l2_seen, l3 * PAGE | USER_PTE);
    strike("L2: the L4", l2_entry, l2_seen, l4_mfn() * PAGE | USER_PTE);
    strike("L2: frame 0", l2_entry, l2_seen, USER_PTE);
    strike("L2: reserved bit 51", l2_entry, l2_seen, virt_to_mfn(table()) * PAGE | USER_PTE | 1ul << 51);
    strike("L2: global", l2_entry, l2_seen, virt_to_mfn(table()) * PAGE | USER_PTE | PTE_G);
    strike("L2: bit 52", l2_entry, l2_seen, virt_to_mfn(table()) * PAGE | USER_PTE | 1ul << 52);
    strike("L3: a writable data frame", l3_entry, l3_seen, data * PAGE | USER_PTE);
    strike("L3: 1 GB page", l3_entry, l3_seen, USER_PTE | PTE_PSE);
    strike("L3: an L1", l3_entry, l3_seen, l1 * PAGE | USER_PTE);
    strike("L3: an L3", l3_entry, l3_seen, l3 * PAGE | USER_PTE);
    strike("L4: a writable data frame", l4_entry0, l4, data * PAGE | USER_PTE);
    strike("L4: PSE", l4_entry0, l4, virt_to_mfn(table()) * PAGE | USER_PTE | PTE_PSE);
    strike("L4: an L1", l4_entry0, l4, l1 * PAGE | USER_PTE);
    strike("L4: an L2", l4_entry0, l4, l2 * PAGE | USER_PTE);
    strike("L4: itself", l4_entry0, l4, l4_mfn() * PAGE | USER_PTE);
    printf("L4 after: entry 0 %s\n", l4[0] ? "set" : "clear");
    mmu_update_one(l4_entry0, 0);
    strike("L4: itself, read-only", l4_entry0, l4, l4_mfn() * PAGE | PTE_P);
    mmu_update_one(l4_entry0, 0);
    strike("L4 slot 255: a good L3", l4_entry0 + 255 * 8, l4 + 255, virt_to_mfn(table()) * PAGE | USER_PTE);
    strike("L4 slot 256: a good L3", l4_entry0 + 256 * 8, l4 + 256, virt_to_mfn(table()) * PAGE | USER_PTE);
    strike("L4 slot 256: clear", l4_entry0 + 256 * 8, l4 + 256, 0);
    strike("L4 slot 260: a good L3", l4_entry0 + 260 * 8, l4 + 260, virt_to_mfn(table()) * PAGE | USER_PTE);
    strike("L4 slot 271: a good L3", l4_entry0 + 271 * 8, l4 + 271, virt_to_mfn(table()) * PAGE | USER_PTE);
    strike("L4 slot 272: a good L3", l4_entry0 + 272 * 8, l4 + 272, virt_to_mfn(table()) * PAGE | USER_PTE);
    strike("L4 slot 256: same value", l4_entry0 + 256 * 8, l4 + 256, l4[256]);

    /* tables with bad contents are refused as a whole */
    u64 *bad = page_alloc();
    bad[511] = l4_mfn() * PAGE | KERNEL_PTE;
    page_readonly(bad);
    strike("L2: an L1 that maps the L4 writable", l2_entry, l2_seen, virt_to_mfn(bad) * PAGE | USER_PTE);
    bad = page_alloc();
    bad[3] = virt_to_mfn(bad) * PAGE | KERNEL_PTE;
    page_readonly(bad);
    strike("L2: an L1 that maps itself writable", l2_entry, l2_seen, virt_to_mfn(bad) * PAGE | USER_PTE);
    bad = page_alloc();
    bad[3] = virt_to_mfn(bad) * PAGE | PTE_P;
    page_readonly(bad);
    strike("L2: an L1 that maps itself read-only", l2_entry, l2_seen, virt_to_mfn(bad) * PAGE | USER_PTE);
    mmu_update_one(l2_entry, 0);
    bad = page_alloc();
    bad[0] = KERNEL_PTE;
    page_readonly(bad);
    strike("L2: an L1 that maps frame 0", l2_entry, l2_seen, virt_to_mfn(bad) * PAGE | USER_PTE);
    printf("make that page writable again: %ld\n", page_writable(bad));

    printf("cr3 to a data frame: %ld\n", mmuext(MMUEXT_NEW_BASEPTR, data, 0));
    printf("cr3 to an L3: %ld\n", mmuext(MMUEXT_NEW_BASEPTR, l3, 0));
    printf("cr3 to frame 0: %ld\n", mmuext(MMUEXT_NEW_BASEPTR, 0, 0));
    printf("cr3 to no frame: %ld\n", mmuext(MMUEXT_NEW_BASEPTR, 0x7fffffff, 0));
    printf("user cr3 to a data frame: %ld\n", mmuext(MMUEXT_NEW_USER_BASEPTR, data, 0));
    printf("unpin a data frame: %ld\n", mmuext(MMUEXT_UNPIN_TABLE, data, 0));
    printf("unpin an unpinned L1: %ld\n", mmuext(MMUEXT_UNPIN_TABLE, l1, 0));
    printf("pin frame 0: %ld\n", mmuext(MMUEXT_PIN_L1_TABLE, 0, 0));

    attempt("movq $0, (%0)", : : "r"(l4) : "memory");
    printf("write to the L4: %s\n", trap_name(caught.vector));
    attempt("movq $0, (%0)", : : "r"(MACH2PHYS + data) : "memory");
    printf("write to the M2P: %s\n", trap_name(caught.vector));

    /* frames given back while something still refers to them */
    u64 *mapped = page_alloc();
    mapped[0] = 0x600d;
    u64 mapped_mfn = virt_to_mfn(mapped), frames[1] = { mapped_mfn };
    struct xen_memory_reservation give = { frames, 1, 0, 0, DOMID_SELF };
    printf("give back a mapped frame: %ld\n", hypercall(memory_op, XENMEM_decrease_reservation, &give));
    attempt("movq (%1), %0", : "=a"(mapped_mfn) : "r"(mapped));
    printf("read through the mapping: %s, %s\n", outcome(), mapped_mfn == 0x600d ? "same contents" : "other contents");
    mapped_mfn = frames[0];
    strike("map a frame that was given back", entry, seen, mapped_mfn * PAGE | KERNEL_PTE);
    printf("unmap it: %ld\n", hypercall(update_va_mapping, mapped, 0, UVMF_INVLPG));
    strike("map it after that", entry, seen, mapped_mfn * PAGE | KERNEL_PTE);
    frames[0] = l1;
    printf("give back our L1: %ld\n", hypercall(memory_op, XENMEM_decrease_reservation, &give));
    frames[0] = l4_mfn();
    printf("give back our L4: %ld\n", hypercall(memory_op, XENMEM_decrease_reservation, &give));
    frames[0] = 0;
    printf("give back frame 0: %ld\n", hypercall(memory_op, XENMEM_decrease_reservation, &give));
    frames[0] = mapped_mfn;
    printf("give the frame back twice: %ld\n", hypercall(memory_op, XENMEM_decrease_reservation, &give));
    printf("still here: %s\n", start_info->magic[0] == 'x' ? "yes" : "no");
}
