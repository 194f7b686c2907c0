/* Pseudo-physical memory mapped straight at VIRT_BASE, page tables walked through that map, changes by hypercall. */
#include "kit.h"

struct start_info *start_info;
struct shared_info *shared_info;
struct vcpu_info *vcpu_info;
static u64 next_pfn, mapped_pfns;
static u8 shared_info_window[4096] aligned(4096);

long mmuext(u32 cmd, u64 arg1, u64 arg2)
{
    struct mmuext_op op = { cmd, { arg1 }, { .src_mfn = arg2 } };
    return hypercall(mmuext_op, &op, 1, 0, DOMID_SELF);
}

long mmu_update_one(u64 ptr, u64 val)
{
    struct mmu_update update = { ptr, val };
    return hypercall(mmu_update, &update, 1, 0, DOMID_SELF);
}

u64 *pte_of(u64 va, int level)
{
    u64 *table = (u64 *)start_info->pt_base;
    for (int at = 4;; at--) {
        u64 *entry = &table[va >> (12 + 9 * (at - 1)) & 511];
        if (at == level)
            return entry;
        if (!(*entry & PTE_P) || *entry & PTE_PSE)
            return NULL;
        table = mfn_to_virt((*entry & PTE_FRAME) / PAGE);
    }
}

u64 pte_machine(u64 va, int level)
{
    u64 *entry = pte_of(va, level);
    return entry ? virt_to_mfn(entry) * PAGE | ((u64)entry & 4095) : 0;
}

long pte_set(u64 va, int level, u64 value)
{
    return mmu_update_one(pte_machine(va, level), value);
}

long page_readonly(void *page)
{
    return hypercall(update_va_mapping, page, virt_to_mfn(page) * PAGE | PTE_P | PTE_A | PTE_D,
                     UVMF_INVLPG | UVMF_LOCAL);
}

long page_writable(void *page)
{
    return hypercall(update_va_mapping, page, virt_to_mfn(page) * PAGE | KERNEL_PTE, UVMF_INVLPG | UVMF_LOCAL);
}

void *page_alloc(void)
{
    if (next_pfn >= mapped_pfns) {
        printf("out of pages\n");
        shutdown(SHUTDOWN_crash);
    }
    void *page = pfn_to_virt(next_pfn++);
    memset(page, 0, PAGE);
    return page;
}

/* Upper tables carry USER where the mapping does; the entry itself decides. */
void map_page(u64 va, u64 pte)
{
    for (int level = 4; level > 1; level--)
        if (!(*pte_of(va, level) & PTE_P)) {
            void *table = page_alloc();
            page_readonly(table);
            pte_set(va, level, virt_to_mfn(table) * PAGE | USER_PTE);
        }
    if (pte_set(va, 1, pte))
        printf("map_page %lx refused\n", va);
}

void memory_start(void)
{
    u64 boot_end = start_info->pt_base + (start_info->nr_pt_frames + 1) * PAGE;
    next_pfn = virt_to_pfn((void *)boot_end);
    mapped_pfns = virt_to_pfn((void *)((boot_end + (512 << 10) + (4 << 20) - 1) & ~((4ul << 20) - 1)));
    hypercall(update_va_mapping, shared_info_window, start_info->shared_info | KERNEL_PTE, UVMF_INVLPG | UVMF_LOCAL);
    shared_info = (struct shared_info *)shared_info_window;
    vcpu_info = &shared_info->vcpu_info[0];
    /* nothing is masked at first; console and store are read by polling */
    if (!(start_info->flags & SIF_INITDOMAIN)) {
        mask(start_info->console.evtchn);
        mask(start_info->store_evtchn);
    }
}
