/*
 * A guest that is never out of hypercalls, and has no timer to interrupt it.  Of its own accord an mmu_update of sixty
 * million requests that change nothing (one page of them, mapped over and over), again and again; told to, on its
 * command line, "trees": an L2 over 300 full L1 tables is pinned and unpinned; "extents": a megabyte is asked for and
 * given back; "batches": pages are cleared and the TLB is flushed, a thousand times in one call.  It grants a page to
 * domains 0 to 3, references 20 to 23.
 */
#include "kit.h"

#define REQUESTS 60000000
#define TABLES   300
#define WINDOW   0xffffff0000000000ul
#define GRANTS   0xffffffffb0000000ul

static void make_window(void)
{
    struct mmu_update *requests = page_alloc();
    u64 *l1 = page_alloc(), *l2 = page_alloc();
    u64 entry = pte_machine((u64)page_alloc(), 1);
    u64 value = ((u64 *)mfn_to_virt(entry / PAGE))[entry % PAGE / 8];
    for (int i = 0; i < 256; i++)
        requests[i] = (struct mmu_update){ entry, value };
    for (int i = 0; i < 512; i++)
        l1[i] = virt_to_mfn(requests) * PAGE | PTE_P | PTE_A | PTE_D;
    page_readonly(l1);
    for (int i = 0; i < 512; i++)
        l2[i] = virt_to_mfn(l1) * PAGE | PTE_P | PTE_A;
    page_readonly(l2);
    map_page(WINDOW + (1ul << 38), 0);
    pte_set(WINDOW, 3, virt_to_mfn(l2) * PAGE | PTE_P | PTE_A);
}

static void make_grants(void)
{
    static u64 list[1];
    struct gnttab_setup_table setup = { DOMID_SELF, 1, 0, list };
    volatile struct grant_entry_v1 *grants = (void *)GRANTS;
    void *shared = page_alloc();
    hypercall(grant_table_op, GNTTABOP_setup_table, &setup, 1);
    map_page(GRANTS, list[0] * PAGE | KERNEL_PTE);
    for (int domid = 0; domid < 4; domid++) {
        grants[20 + domid].domid = domid;
        grants[20 + domid].frame = virt_to_mfn(shared);
        grants[20 + domid].flags = 1 /* permit_access */;
    }
}

static void trees(void)
{
    u64 *l2 = page_alloc(), leaf = virt_to_mfn(page_alloc()) * PAGE | KERNEL_PTE;
    for (int i = 0; i < TABLES; i++) {
        u64 *l1 = page_alloc();
        for (int j = 0; j < 512; j++)
            l1[j] = leaf;
        page_readonly(l1);
        l2[i] = virt_to_mfn(l1) * PAGE | PTE_P | PTE_A;
    }
    page_readonly(l2);
    printf("go\n");
    for (;;) {
        mmuext(MMUEXT_PIN_L2_TABLE, virt_to_mfn(l2), 0);
        mmuext(MMUEXT_UNPIN_TABLE, virt_to_mfn(l2), 0);
    }
}

static void extents(void)
{
    u64 extent = 0x100000;
    struct xen_memory_reservation r = { &extent, 1, 8, 0, DOMID_SELF };
    printf("go\n");
    for (;;) {
        hypercall(memory_op, XENMEM_populate_physmap, &r);
        hypercall(memory_op, XENMEM_decrease_reservation, &r);
    }
}

static void batches(void)
{
    static struct mmuext_op list[1000];
    u64 mfn = virt_to_mfn(page_alloc());
    map_page((u64)mfn_to_virt(mfn), 0);
    for (int i = 0; i < 1000; i++)
        list[i] = (struct mmuext_op){ .cmd = i % 2 ? MMUEXT_CLEAR_PAGE : MMUEXT_TLB_FLUSH_LOCAL, .arg1.mfn = mfn };
    printf("go\n");
    for (;;)
        hypercall(mmuext_op, list, 1000, 0, DOMID_SELF);
}

void main(void)
{
    make_window();
    make_grants();
    hypercall(vcpu_op, VCPUOP_stop_periodic_timer, 0, 0);
    if (starts_with(start_info->cmd_line, "trees"))
        trees();
    if (starts_with(start_info->cmd_line, "extents"))
        extents();
    if (starts_with(start_info->cmd_line, "batches"))
        batches();
    printf("go\n");
    for (;;)
        hypercall(mmu_update, WINDOW, REQUESTS, 0, DOMID_SELF);
}
