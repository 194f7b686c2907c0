/* Does whatever comes to its mind to the pages that it shares with Xen and with backends; the command line is the
 * seed. */
#include "kit.h"

enum { STEPS = 20000, MOST = 24, PHYSDEVOP_pirq_eoi_gmfn_v2 = 28 };
static u64 pages[MOST], info_mfn, state, window = 0xffffffffa0000000ul;
static u32 nr_pages, nr_shared;

static u64 draw(u64 below)
{
    state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
    return (state * 0x2545f4914f6cdd1dul >> 11) % below;
}

/* A page of its own, mapped read-only: nothing but what it is shared for keeps it from becoming a page table. */
static u64 readonly(void *page)
{
    page_readonly(page);
    return pages[nr_pages++] = virt_to_mfn(page);
}

static void share_all(void)
{
    void *info_page = page_alloc();
    memcpy(info_page, (void *)vcpu_info, sizeof *vcpu_info);     /* with events masked */
    struct vcpu_register_vcpu_info info = { info_mfn = readonly(info_page), 0, 0 };
    struct evtchn_init_control control = { .control_gfn = readonly(page_alloc()) };
    u64 frames[4] = { 0 }, status[1] = { 0 }, eoi = readonly(page_alloc());
    struct gnttab_set_version version = { 2 };
    struct gnttab_setup_table setup = { DOMID_SELF, 4, 0, frames };
    struct gnttab_get_status_frames get = { 1, DOMID_SELF, 0, status };

    readonly(mfn_to_virt(start_info->store_mfn));
    readonly(mfn_to_virt(start_info->console.mfn));
    hypercall(vcpu_op, VCPUOP_register_vcpu_info, 0, &info);
    hypercall(event_channel_op, EVTCHNOP_init_control, &control);
    for (int i = 0; i < 3; i++)
        hypercall(event_channel_op, EVTCHNOP_expand_array, &(u64){ readonly(page_alloc()) });
    hypercall(physdev_op, PHYSDEVOP_pirq_eoi_gmfn_v2, &eoi);
    hypercall(grant_table_op, GNTTABOP_set_version, &version, 1);
    hypercall(grant_table_op, GNTTABOP_setup_table, &setup, 1);
    hypercall(grant_table_op, GNTTABOP_get_status_frames, &get, 1);
    for (int i = 0; i < 4; i++)
        pages[nr_pages++] = frames[i];
    pages[nr_pages++] = status[0];
    pages[nr_pages++] = start_info->shared_info / PAGE;
    nr_shared = nr_pages;
    for (int i = 0; i < 3; i++)         /* and some that it shares with nobody */
        readonly(page_alloc());
}

static void map_it(u64 mfn)
{
    static const u64 flags[] = { PTE_P, KERNEL_PTE, USER_PTE, PTE_P | PTE_A, 0 };
    pte_set(window + draw(8) * PAGE, 1, mfn * PAGE | flags[draw(5)]);
}

static void give_it_away(u64 mfn)
{
    u64 in[1] = { mfn }, out[1] = { virt_to_pfn((void *)start_info) };
    struct xen_memory_reservation r = { in, 1, 0, 0, DOMID_SELF };
    struct xen_memory_exchange exchange = { r, { out, 1, 0, 0, DOMID_SELF }, 0 };
    struct gnttab_transfer transfer = { mfn, draw(3), draw(16), 0 };
    switch (draw(4)) {
    case 0: hypercall(memory_op, XENMEM_exchange, &exchange); break;
    case 1: hypercall(grant_table_op, GNTTABOP_transfer, &transfer, 1); break;
    case 2: hypercall(memory_op, XENMEM_decrease_reservation, &r); break;
    case 3: r.extent_start = out, hypercall(memory_op, XENMEM_populate_physmap, &r); break;
    }
}

static void make_a_table_of_it(u64 mfn, int is_shared)
{
    u64 gdt[1] = { mfn };
    switch (draw(6)) {
    case 0: mmuext(MMUEXT_PIN_L1_TABLE + draw(4), mfn, 0); break;
    case 1: mmuext(MMUEXT_UNPIN_TABLE, mfn, 0); break;
    case 2: if (is_shared) mmuext(MMUEXT_NEW_BASEPTR, mfn, 0); break;   /* an empty root would be its end */
    case 3: mmuext(MMUEXT_NEW_USER_BASEPTR, mfn, 0); break;
    case 4: hypercall(set_gdt, gdt, 8); break;
    case 5: pte_set(window + 0x200000, 2, mfn * PAGE | USER_PTE); break;
    }
}

static void write_to_it(u64 mfn)
{
    u64 word = pages[draw(nr_pages)] * PAGE | (draw(2) ? KERNEL_PTE : draw(4096));
    if (mfn == info_mfn)                /* which would unmask events */
        return;
    switch (draw(4)) {
    case 0: mmu_update_one(mfn * PAGE + draw(512) * 8, word); break;
    case 1: mmuext(MMUEXT_CLEAR_PAGE, mfn, 0); break;
    case 2: mmuext(MMUEXT_COPY_PAGE, mfn, pages[draw(nr_pages)]); break;
    case 3: hypercall(update_descriptor, mfn * PAGE + draw(512) * 8, word); break;
    }
}

static void use_it(void)
{
    hypercall(event_channel_op, EVTCHNOP_send, &(u32){ draw(2) ? start_info->store_evtchn
                                                       : start_info->console.evtchn });
}

void main(void)
{
    for (const u8 *digit = (u8 *)start_info->cmd_line; *digit; digit++)
        state = state * 10 + *digit - '0';
    state = state * 0x9e3779b97f4a7c15ul + 1;
    map_page(window, 0);
    map_page(window + 0x400000, 0);
    share_all();
    for (int step = 0; step < STEPS; step++) {
        u32 index = draw(nr_pages);
        u64 mfn = pages[index];
        switch (draw(8)) {
        case 0: case 1: map_it(mfn); break;
        case 2: give_it_away(mfn); break;
        case 3: case 4: make_a_table_of_it(mfn, index < nr_shared); break;
        case 5: case 6: write_to_it(mfn); break;
        case 7: use_it(); break;
        }
    }
    hypercall(sched_op, SCHEDOP_shutdown, &(u32){ SHUTDOWN_poweroff });
}
