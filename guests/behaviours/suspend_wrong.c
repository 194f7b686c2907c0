/* A guest that suspends itself in ways that nobody can save, and goes on each time; at last it does it right. */
#include "kit.h"

static u64 *table, *page;

static void publish(u64 max_pfn, u64 va, u64 cr3)
{
    shared_info->arch.max_pfn = max_pfn;
    shared_info->arch.p2m_vaddr = va;
    shared_info->arch.p2m_cr3 = cr3;
}

static void publish_rightly(void) { publish(start_info->nr_pages, start_info->mfn_list, l4_mfn() * PAGE); }

/* `mfn` is what it says that its start_info is; `mapped` whether shared_info stays mapped. */
static void suspend(const char *what, u64 mfn, int mapped)
{
    u32 why = SHUTDOWN_suspend;
    printf("%s\n", what);
    while (((volatile struct xencons_interface *)mfn_to_virt(start_info->console.mfn))->out_cons
           != ((volatile struct xencons_interface *)mfn_to_virt(start_info->console.mfn))->out_prod)
        hypercall(sched_op, SCHEDOP_yield, 0);
    start_info->store_mfn = mfn_to_pfn(start_info->store_mfn);
    start_info->console.mfn = mfn_to_pfn(start_info->console.mfn);
    if (!mapped)
        hypercall(update_va_mapping, shared_info, 0, UVMF_INVLPG | UVMF_LOCAL);
    long cancelled = hypercall(sched_op, SCHEDOP_shutdown, &why, mfn);
    hypercall(update_va_mapping, shared_info, start_info->shared_info | KERNEL_PTE, UVMF_INVLPG | UVMF_LOCAL);
    if (cancelled) {
        start_info->store_mfn = pfn_to_mfn(start_info->store_mfn);
        start_info->console.mfn = pfn_to_mfn(start_info->console.mfn);
    }
}

void main(void)
{
    u64 right = virt_to_mfn(start_info), *p2m = (u64 *)start_info->mfn_list;
    page = page_alloc(), table = page_alloc();

    publish(0, 0, 0);
    suspend("no p2m list", right, 0);
    publish(~0ul, start_info->mfn_list, l4_mfn() * PAGE);
    suspend("more pages than there can be", right, 0);
    publish(start_info->nr_pages, start_info->mfn_list, ~0ul);
    suspend("a root beyond memory", right, 0);
    publish(start_info->nr_pages, start_info->mfn_list, 0);
    suspend("a root that is not its own", right, 0);
    publish(start_info->nr_pages, start_info->mfn_list, virt_to_mfn(page) * PAGE);
    suspend("a root that is no page table", right, 0);
    publish(start_info->nr_pages, 0x123456789000, l4_mfn() * PAGE);
    suspend("a p2m list that is not mapped", right, 0);
    publish(start_info->nr_pages, 0xffff800000000000, l4_mfn() * PAGE);
    suspend("the machine's table for a p2m list", right, 0);
    publish(start_info->nr_pages, start_info->mfn_list + 8, l4_mfn() * PAGE);
    suspend("a p2m list that begins in a page", right, 0);
    publish_rightly();
    suspend("start_info nowhere", ~0ul, 0);
    suspend("start_info of Xen's", 1, 0);
    suspend("start_info in another page", virt_to_mfn(page), 0);
    suspend("start_info in a page table", l4_mfn(), 0);
    suspend("shared_info mapped", right, 1);

    u64 pfn = virt_to_pfn(page), mfn = p2m[pfn];
    p2m[pfn] = right;
    suspend("a wrong p2m entry", right, 0);
    p2m[pfn] = mfn;
    mmu_update_one(mfn * PAGE | MMU_MACHPHYS_UPDATE, virt_to_pfn(start_info));
    suspend("two frames for one page", right, 0);
    mmu_update_one(mfn * PAGE | MMU_MACHPHYS_UPDATE, ~0ul);
    suspend("a frame without a page", right, 0);
    mmu_update_one(mfn * PAGE | MMU_MACHPHYS_UPDATE, pfn);
    suspend("all is right", right, 0);
    printf("and goes on\n");
}
