/* Two vcpus that do the same to the same things at once: page tables, frames, grants, channels, a third vcpu.
 * Every call is refused or done whole, whoever comes first; the sums that must be are told, the rest is the audit's.
 * Then events from one to the other, each of which ends a wait. */
#include "kit.h"

enum { ROUNDS = 1000, EVENTS = 1000 };
static volatile u64 arrived, turn, done[2];
static u64 *table, *page, *first, *second, *stubs;
static struct grant_entry_v1 *grants;
static u32 wake_port[2];

/* Both at once. */
static void together(void)
{
    u64 mine = turn;
    if (__atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST) == 2) {
        arrived = 0;
        __atomic_add_fetch(&turn, 1, __ATOMIC_SEQ_CST);
    }
    while (turn == mine)
        asm volatile("pause" : : : "memory");
}

static void pin(void)
{
    if (mmuext(MMUEXT_PIN_L1_TABLE, virt_to_mfn(table), 0) == 0)
        mmuext(MMUEXT_UNPIN_TABLE, virt_to_mfn(table), 0);
}

static void entries(u64 round)
{
    mmu_update_one(pte_machine((u64)page, 1), virt_to_mfn(round & 1 ? first : second) * PAGE | KERNEL_PTE);
    mmu_update_one(pte_machine((u64)page, 1), round % 3 ? 0 : virt_to_mfn(table) * PAGE | KERNEL_PTE);
    mmuext(MMUEXT_TLB_FLUSH_ALL, 0, 0);
}

static u64 grant(void)
{
    struct gnttab_map_grant_ref map = { (u64)page, 2, 100, 1, 99, 0, 0 };
    hypercall(grant_table_op, GNTTABOP_map_grant_ref, &map, 1);
    if (map.status)
        return 0;
    struct gnttab_unmap_grant_ref unmap = { (u64)page, 0, map.handle, 99 };
    hypercall(grant_table_op, GNTTABOP_unmap_grant_ref, &unmap, 1);
    return 1;
}

static void channel(void)
{
    struct evtchn_alloc_unbound alloc = { DOMID_SELF, DOMID_SELF, 0 };
    if (hypercall(event_channel_op, EVTCHNOP_alloc_unbound, &alloc))
        return;
    struct evtchn_bind_interdomain bind = { DOMID_SELF, alloc.port, 0 };
    struct evtchn_bind_vcpu move = { alloc.port, 1 };
    struct evtchn_port near = { alloc.port }, next = { alloc.port + 1 };
    hypercall(event_channel_op, EVTCHNOP_bind_interdomain, &bind);
    hypercall(event_channel_op, EVTCHNOP_bind_vcpu, &move);
    hypercall(event_channel_op, EVTCHNOP_send, &near);
    hypercall(event_channel_op, EVTCHNOP_send, &next);
    hypercall(event_channel_op, EVTCHNOP_close, &next);
    hypercall(event_channel_op, EVTCHNOP_close, &near);
}

static void frame(void)
{
    u64 pfn = virt_to_pfn(second), mfn = pfn_to_mfn(pfn);
    struct xen_memory_reservation give = { &mfn, 1, 0, 0, DOMID_SELF };
    if (hypercall(memory_op, XENMEM_decrease_reservation, &give) != 1)
        return;
    u64 want = pfn;
    struct xen_memory_reservation take = { &want, 1, 0, 0, DOMID_SELF };
    if (hypercall(memory_op, XENMEM_populate_physmap, &take) == 1)
        ((u64 *)start_info->mfn_list)[pfn] = want;
}

/* An instruction that Xenia carries out, and for which it holds a frame. */
static void hypercall_page(void)
{
    u64 where = virt_to_mfn(stubs) * PAGE;
    asm volatile("wrmsr" : : "c"(0x40000000), "a"((u32)where), "d"((u32)(where >> 32)) : "memory");
}

static void both(int who)
{
    for (u64 round = 0; round < ROUNDS; round++) {
        together();
        pin();
        entries(round);
        hypercall_page();
        done[who] += grant();
        channel();
        if (round % 16 == 0)
            frame();
    }
}

static struct vcpu_guest_context *third_context;
static volatile long third[2];

static void wait_for(u32 port)
{
    struct sched_poll poll = { &port, 1, 0 };
    hypercall(sched_op, SCHEDOP_poll, &poll);
    __atomic_fetch_and(&shared_info->evtchn_pending[port / 64], ~(1ul << port % 64), __ATOMIC_SEQ_CST);
}

static void tell(int who)
{
    struct evtchn_port port = { wake_port[who] };
    hypercall(event_channel_op, EVTCHNOP_send, &port);
}

static void second_vcpu(void)
{
    together();
    both(1);
    together();
    third[1] = hypercall(vcpu_op, VCPUOP_initialise, 2, third_context);
    together();
    for (int i = 0; i < EVENTS; i++) {
        wait_for(wake_port[1]);
        tell(0);
    }
    together();
    hypercall(vcpu_op, VCPUOP_down, 1, 0);
    for (;;)
        together();
}

static void third_vcpu(void) { hypercall(vcpu_op, VCPUOP_down, 2, 0); }

void main(void)
{
    table = page_alloc(), page = page_alloc(), first = page_alloc(), second = page_alloc(), stubs = page_alloc();
    page_readonly(table);
    u64 grant_frame;
    struct gnttab_setup_table setup = { DOMID_SELF, 1, 99, &grant_frame };
    hypercall(grant_table_op, GNTTABOP_setup_table, &setup, 1);
    grants = page_alloc();
    hypercall(update_va_mapping, grants, grant_frame * PAGE | KERNEL_PTE, UVMF_INVLPG | UVMF_LOCAL);
    grants[100] = (struct grant_entry_v1){ 1, 1, (u32)virt_to_mfn(first) };     /* to itself, domain 1 */
    for (u32 who = 0; who < 2; who++) {
        struct evtchn_bind_ipi bind = { who, 0 };
        hypercall(event_channel_op, EVTCHNOP_bind_ipi, &bind);
        wake_port[who] = bind.port;
    }
    third_context = vcpu_context(third_vcpu);
    printf("initialise: %ld\n", hypercall(vcpu_op, VCPUOP_initialise, 1, vcpu_context(second_vcpu)));
    printf("up: %ld\n", hypercall(vcpu_op, VCPUOP_up, 1, 0));
    together();
    both(0);
    together();
    third[0] = hypercall(vcpu_op, VCPUOP_initialise, 2, third_context);
    together();
    printf("initialised by one of both: %ld\n", third[0] + third[1]);
    printf("up: %ld\n", hypercall(vcpu_op, VCPUOP_up, 2, 0));
    for (int i = 0; i < EVENTS; i++) {
        tell(1);
        wait_for(wake_port[0]);
    }
    together();
    printf("events there and back: %d\n", EVENTS);
    while (hypercall(vcpu_op, VCPUOP_is_up, 1, 0) || hypercall(vcpu_op, VCPUOP_is_up, 2, 0))
        hypercall(sched_op, SCHEDOP_yield, 0);
    printf("down again, grants used: %d\n", done[0] > 0 && done[1] > 0);
    printf("unpin what is not pinned: %ld\n", mmuext(MMUEXT_UNPIN_TABLE, virt_to_mfn(table), 0));
    printf("the page can be written again: %ld\n", page_writable(table));
}
