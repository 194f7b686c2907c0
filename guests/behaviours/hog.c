/*
 * A guest that is never out of one hypercall: an mmu_update of sixty million requests that change nothing, again and again, and no timer to
 * interrupt it.  The requests are one page, mapped over and over.  It grants a page to domains 0 to 3, references 20 to 23.
 */
#include "kit.h"

#define REQUESTS 60000000
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

void main(void)
{
    make_window();
    make_grants();
    hypercall(vcpu_op, VCPUOP_stop_periodic_timer, 0, 0);
    printf("go\n");
    for (;;)
        hypercall(mmu_update, WINDOW, REQUESTS, 0, DOMID_SELF);
}
