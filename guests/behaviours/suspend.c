/* A guest that suspends itself five times and looks each time whether all is as it was: in other frames, perhaps. */
#include "kit.h"

#define ROUNDS 5
#define PAGES 100
#define ABOVE 0xffff900000000000ul
#define DATA3 0x00cff3000000fffful      /* a descriptor: data of ring 3 */

user_code(u_add, "lea 1(%rdi), %rax; ud2");

static u64 *pages[PAGES], *gdt, *ldt, *pinned;
static u32 timer;
static u8 xmm[16] = "sixteen letters!", fpu_now[16];
static u64 time_before, tsc_before, wall_before;

#define CHECK(what, ok) do { if (!(ok)) printf("round %d: %s\n", round, what); } while (0)

/* Where the toolstack finds the p2m list. */
static void publish(void)
{
    shared_info->arch.max_pfn = start_info->nr_pages;
    shared_info->arch.p2m_vaddr = start_info->mfn_list;
    shared_info->arch.p2m_cr3 = l4_mfn() * PAGE;
}

/* Whether it was cancelled: then nothing is new. */
static long suspend(void)
{
    u32 why = SHUTDOWN_suspend;
    start_info->store_mfn = mfn_to_pfn(start_info->store_mfn);
    start_info->console.mfn = mfn_to_pfn(start_info->console.mfn);
    hypercall(update_va_mapping, shared_info, 0, UVMF_INVLPG | UVMF_LOCAL);
    long cancelled = hypercall(sched_op, SCHEDOP_shutdown, &why, virt_to_mfn(start_info));
    hypercall(update_va_mapping, shared_info, start_info->shared_info | KERNEL_PTE, UVMF_INVLPG | UVMF_LOCAL);
    if (cancelled) {
        start_info->store_mfn = pfn_to_mfn(start_info->store_mfn);
        start_info->console.mfn = pfn_to_mfn(start_info->console.mfn);
    }
    publish();
    return cancelled;
}

static void prepare(void)
{
    for (u64 i = 0; i < PAGES; i++) {
        pages[i] = page_alloc();
        for (u64 j = 0; j < 512; j++)
            pages[i][j] = i * 0x9e3779b97f4a7c15 ^ j;
    }
    map_page(ABOVE, virt_to_mfn(pages[0]) * PAGE | KERNEL_PTE);
    map_page(ABOVE + PAGE, virt_to_mfn(pages[1]) * PAGE | (KERNEL_PTE & ~PTE_W));
    user_start();
    user_load(u_add, u_add_end - u_add);

    gdt = page_alloc(), ldt = page_alloc(), pinned = page_alloc();
    gdt[1] = ldt[1] = DATA3;
    page_readonly(gdt), page_readonly(ldt);
    u64 frame = virt_to_mfn(gdt);
    hypercall(set_gdt, &frame, 512);
    mmuext(MMUEXT_SET_LDT, (u64)ldt, 16);
    pinned[3] = virt_to_mfn(pages[3]) * PAGE | KERNEL_PTE;
    page_readonly(pinned);
    mmuext(MMUEXT_PIN_L1_TABLE, virt_to_mfn(pinned), 0);

    hypercall(set_debugreg, 1, 0x123000);
    hypercall(set_segment_base, SEGBASE_FS, 0x1111000);
    hypercall(set_segment_base, SEGBASE_GS_USER, 0x2222000);
    hypercall(set_segment_base, SEGBASE_GS_KERNEL, 0x3333000);
    hypercall(vcpu_op, VCPUOP_stop_periodic_timer, 0, 0);
    asm volatile("fninit; movups %0, %%xmm7" : : "m"(xmm));
    timer = bind_virq(VIRQ_TIMER);
    publish();
}

static u64 base(u32 msr)
{
    u32 low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return low | (u64)high << 32;
}

static void look(int round, int same)
{
    for (u64 i = 0; i < PAGES; i++)
        for (u64 j = 0; j < 512; j++)
            CHECK("memory", pages[i][j] == (i * 0x9e3779b97f4a7c15 ^ j) + (i == 2 && j == 5 ? (u64)round : 0));
    CHECK("a page at another address", !memcmp((void *)ABOVE, pages[0], PAGE));
    CHECK("one that is read-only there", !memcmp((void *)(ABOVE + PAGE), pages[1], PAGE));
    for (u64 pfn = 0; pfn < start_info->nr_pages; pfn++)
        CHECK("p2m and m2p", mfn_to_pfn(pfn_to_mfn(pfn)) == pfn);
    CHECK("a page table", (*pte_of(ABOVE, 1) & PTE_FRAME) / PAGE == virt_to_mfn(pages[0]));
    CHECK("a pinned page table", (pinned[3] & PTE_FRAME) / PAGE == virt_to_mfn(pages[3]));
    CHECK("it is pinned", mmuext(MMUEXT_PIN_L1_TABLE, virt_to_mfn(pinned), 0) == -22);
    CHECK("it can be unpinned", mmuext(MMUEXT_UNPIN_TABLE, virt_to_mfn(pinned), 0) == 0);
    CHECK("and pinned", mmuext(MMUEXT_PIN_L1_TABLE, virt_to_mfn(pinned), 0) == 0);
    CHECK("it is not to be written", page_writable(pinned) == -16 && page_writable(gdt) == -16);

    CHECK("fs base", base(0xc0000100) == 0x1111000);
    CHECK("gs bases", base(0xc0000101) == 0x3333000 && base(0xc0000102) == 0x2222000);
    CHECK("a debug register", hypercall(get_debugreg, 1) == 0x123000);
    attempt("mov %0, %%es", : : "r"(8 | 3) : "memory");
    CHECK("a descriptor of the GDT", caught.vector == VECTOR_NONE);
    attempt("mov %0, %%es", : : "r"(8 | 7) : "memory");
    CHECK("a descriptor of the LDT", caught.vector == VECTOR_NONE);
    attempt("mov %0, %%es", : : "r"(16 | 3) : "memory");
    CHECK("no descriptor", caught.vector == 13);
    asm volatile("movups %%xmm7, %0" : "=m"(fpu_now));
    CHECK("xmm7", !memcmp(xmm, fpu_now, 16));

    CHECK("time", now() >= time_before);
    CHECK("the counter", rdtsc() >= tsc_before);
    CHECK("the wallclock", wallclock() >= wall_before && wallclock() - wall_before < 60);

    struct evtchn_status status = { .dom = DOMID_SELF, .port = timer };
    if (!same)
        CHECK("the timer's channel is gone",
              !hypercall(event_channel_op, EVTCHNOP_status, &status) && status.status == 0);
    if (!same)
        timer = bind_virq(VIRQ_TIMER);
    CHECK("the timer's channel", timer);
    mask(timer);
    struct sched_poll poll = { &timer, 1, 0 };
    shared_info->evtchn_pending[timer / 64] &= ~(1ul << timer % 64);
    hypercall(set_timer_op, now() + 1000000);
    hypercall(sched_op, SCHEDOP_poll, &poll);
    CHECK("the timer", shared_info->evtchn_pending[timer / 64] >> timer % 64 & 1);

    struct frame f = user_frame();
    f.rdi = 41 + round;
    user_run(&f);
    CHECK("user mode", f.vector == 6 && f.rax == (u64)(42 + round));
}

void main(void)
{
    int cancelled = 0;
    prepare();
    wall_before = wallclock();
    look(0, 1);
    for (int round = 1; round <= ROUNDS; round++) {
        time_before = now(), tsc_before = rdtsc(), wall_before = wallclock();
        pages[2][5]++;
        long same = suspend();
        cancelled += same;
        look(round, same);
        printf("round %d\n", round);
    }
    printf("cancelled: %d\n", cancelled);
}
