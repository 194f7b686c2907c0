/* What the hypervisor's own operations cost, in ns by the pvclock: `name: ns`.  The best of several rounds of each. */
#include "kit.h"

#define ROUNDS 7
static u8 windows[128][4096] aligned(4096);
static struct mmu_update updates[128];
static volatile u32 upcalls;

static void arrived(u32 which) { (void)which; upcalls++; }

static int fifo_upcall(struct frame *frame)
{
    if (frame->vector != VECTOR_EVENT)
        return 0;
    fifo_take(arrived);
    return 1;
}

static void fifo_start(void)
{
    fifo_control = page_alloc();
    fifo_array[0] = page_alloc();
    struct evtchn_init_control init = { virt_to_mfn((void *)fifo_control), 0, 0, 0, { 0 } };
    struct evtchn_expand_array expand = { virt_to_mfn((void *)fifo_array[0]) };
    *fifo_word(start_info->console.evtchn) = *fifo_word(start_info->store_evtchn) = EVTCHN_FIFO_MASKED;
    if (hypercall(event_channel_op, EVTCHNOP_init_control, &init)
        || hypercall(event_channel_op, EVTCHNOP_expand_array, &expand))
        printf("no FIFO event channels\n");
    trap_hook = fifo_upcall;
}

/* run BODY for `n` times, ROUNDS times over; print the best time of one */
#define measure(name, n, body) do { \
        u64 best = ~0ul; \
        for (int round = 0; round < ROUNDS; round++) { \
            u64 before = now(); \
            for (u64 i = 0; i < (n); i++) { body; } \
            u64 spent = now() - before; \
            if (spent < best) \
                best = spent; \
        } \
        printf("%s: %lu.%02lu\n", name, best / (n), best * 100 / (n) % 100); \
    } while (0)

user_code(u_loop, "1: syscall; jmp 1b");

static void user_round_trip(void)
{
    static struct frame f;
    static int begun;
    if (!begun) {
        user_load(u_loop, u_loop_end - u_loop);
        f = user_frame();
        begun = 1;
    }
    user_run(&f);
}

static void update_batches(u64 batch, u64 total)
{
    for (u64 done = 0; done < total; done += batch)
        hypercall(mmu_update, updates, batch, 0, DOMID_SELF);
}

void main(void)
{
    hypercall(vcpu_op, VCPUOP_stop_periodic_timer, 0, 0);
    measure("empty loop", 100000, asm volatile("" : : : "memory"));
    measure("null hypercall", 20000, hypercall(xen_version, XENVER_version, 0));
    measure("fpu_taskswitch", 20000, hypercall(fpu_taskswitch, 0));
    measure("exception to the kernel and back", 5000, attempt("ud2", :));
    user_start();
    measure("user mode and back by syscall", 5000, user_round_trip());
    for (int i = 0; i < 128; i++)
        updates[i] = (struct mmu_update){ pte_machine((u64)windows[i], 1), *pte_of((u64)windows[i], 1) & ~(1ul << 52) };
    measure("128 mmu_updates, one at a time", 20, update_batches(1, 128));
    measure("128 mmu_updates, by 16", 20, update_batches(16, 128));
    measure("128 mmu_updates, by 128", 20, update_batches(128, 128));
    measure("update_va_mapping", 5000, hypercall(update_va_mapping, windows[0], updates[0].val, UVMF_NONE));
    measure("update_va_mapping and invlpg", 5000, hypercall(update_va_mapping, windows[0], updates[0].val,
                                                            UVMF_INVLPG));
    hypercall(vm_assist, VMASST_CMD_enable, VMASST_TYPE_writable_pagetables);
    volatile u64 *entry = pte_of((u64)windows[0], 1);
    measure("store to a page table", 3000, *entry = updates[0].val);
    u64 *table = page_alloc();
    page_readonly(table);
    measure("pin and unpin an empty L1", 500, (mmuext(MMUEXT_PIN_L1_TABLE, virt_to_mfn(table), 0),
                                               mmuext(MMUEXT_UNPIN_TABLE, virt_to_mfn(table), 0)));
    struct multicall_entry calls[16];
    for (int i = 0; i < 16; i++)
        calls[i] = (struct multicall_entry){ __HYPERVISOR_xen_version, 0, { XENVER_version } };
    measure("multicall of 16 null hypercalls", 2000, hypercall(multicall, calls, 16));
    struct evtchn_bind_ipi ipi = { 0, 0 };
    hypercall(event_channel_op, EVTCHNOP_bind_ipi, &ipi);
    event_handler(ipi.port, arrived);
    events_on();
    struct evtchn_port send = { ipi.port };
    measure("event send to its upcall and back", 5000, hypercall(event_channel_op, EVTCHNOP_send, &send));
    events_off();
    fifo_start();
    events_on();
    measure("the same through a FIFO queue", 5000, hypercall(event_channel_op, EVTCHNOP_send, &send));
    events_off();
    measure("set timer", 5000, hypercall(set_timer_op, now() + 1000000000));
    measure("yield", 5000, hypercall(sched_op, SCHEDOP_yield, 0));
}
