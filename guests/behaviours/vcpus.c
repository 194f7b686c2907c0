/* vcpu_op and sched_op beside timers. */
#include "kit.h"

static void say(const char *name, long result) { printf("%s: %ld\n", name, result); }

void main(void)
{
    static u8 context[6000];
    u64 physid = 0;
    say("is_up 0", hypercall(vcpu_op, VCPUOP_is_up, 0, 0));
    say("is_up 1", hypercall(vcpu_op, VCPUOP_is_up, 1, 0));
    say("is_up 31", hypercall(vcpu_op, VCPUOP_is_up, 31, 0));
    say("is_up 9999", hypercall(vcpu_op, VCPUOP_is_up, 9999, 0));
    say("up 0", hypercall(vcpu_op, VCPUOP_up, 0, 0));
    say("up 1", hypercall(vcpu_op, VCPUOP_up, 1, 0));
    say("initialise 0", hypercall(vcpu_op, VCPUOP_initialise, 0, context));
    say("initialise 1", hypercall(vcpu_op, VCPUOP_initialise, 1, context));
    say("get_physid", hypercall(vcpu_op, VCPUOP_get_physid, 0, &physid));
    say("command 99", hypercall(vcpu_op, 99, 0, 0));
    say("send_nmi 1", hypercall(vcpu_op, VCPUOP_send_nmi, 1, 0));

    struct vcpu_info *area = page_alloc();
    struct vcpu_register_vcpu_info place = { virt_to_mfn(area), 0, 0 };
    place.offset = 4096 - 32;
    say("register vcpu_info, across the end", hypercall(vcpu_op, VCPUOP_register_vcpu_info, 0, &place));
    place.offset = 4096;
    say("register vcpu_info, beyond", hypercall(vcpu_op, VCPUOP_register_vcpu_info, 0, &place));
    place = (struct vcpu_register_vcpu_info){ 0, 0, 0 };
    say("register vcpu_info in frame 0", hypercall(vcpu_op, VCPUOP_register_vcpu_info, 0, &place));
    place = (struct vcpu_register_vcpu_info){ l4_mfn(), 0, 0 };
    say("register vcpu_info in a page table", hypercall(vcpu_op, VCPUOP_register_vcpu_info, 0, &place));
    place = (struct vcpu_register_vcpu_info){ virt_to_mfn(area), 64, 0 };
    say("register vcpu_info for vcpu 1", hypercall(vcpu_op, VCPUOP_register_vcpu_info, 1, &place));
    vcpu_info->arch.cr2 = 0x77;
    say("register vcpu_info", hypercall(vcpu_op, VCPUOP_register_vcpu_info, 0, &place));
    struct vcpu_info *moved = (struct vcpu_info *)((u8 *)area + 64);
    printf("moved: mask %d, pending %d, selector %lx, cr2 %lx, version even %d\n", moved->evtchn_upcall_mask,
           moved->evtchn_upcall_pending,
           moved->evtchn_pending_sel, moved->arch.cr2, moved->time.version && !(moved->time.version & 1));
    printf("old place: mask %d, pending %d\n", vcpu_info->evtchn_upcall_mask, vcpu_info->evtchn_upcall_pending);
    say("register it again", hypercall(vcpu_op, VCPUOP_register_vcpu_info, 0, &place));
    vcpu_info = moved;
    attempt("movb (%0), %%al", : : "r"(0x1234) : "rax");
    printf("cr2 in the new place: %lx\n", moved->arch.cr2);
    struct vcpu_runstate_info run, *nowhere = (void *)0x1000;
    say("runstate of vcpu 1", hypercall(vcpu_op, VCPUOP_get_runstate_info, 1, &run));
    say("runstate, bad pointer", hypercall(vcpu_op, VCPUOP_get_runstate_info, 0, 0x1000));
    say("runstate area at a bad address", hypercall(vcpu_op, VCPUOP_register_runstate_memory_area, 0, &nowhere));
    say("time area at a bad address", hypercall(vcpu_op, VCPUOP_register_vcpu_time_memory_area, 0, &nowhere));

    say("yield", hypercall(sched_op, SCHEDOP_yield, 0));
    struct sched_watchdog dog = { 0, 100 };
    say("watchdog, new", hypercall(sched_op, SCHEDOP_watchdog, &dog));
    dog = (struct sched_watchdog){ 1, 100 };
    say("watchdog 1, kick", hypercall(sched_op, SCHEDOP_watchdog, &dog));
    dog = (struct sched_watchdog){ 1, 0 };
    say("watchdog 1, stop", hypercall(sched_op, SCHEDOP_watchdog, &dog));
    say("watchdog 1, stop again", hypercall(sched_op, SCHEDOP_watchdog, &dog));
    dog = (struct sched_watchdog){ 0, 100 };
    say("watchdog, new", hypercall(sched_op, SCHEDOP_watchdog, &dog));
    say("watchdog, another", hypercall(sched_op, SCHEDOP_watchdog, &dog));
    say("watchdog, a third", hypercall(sched_op, SCHEDOP_watchdog, &dog));
    dog = (struct sched_watchdog){ 99, 100 };
    say("watchdog 99", hypercall(sched_op, SCHEDOP_watchdog, &dog));
    dog = (struct sched_watchdog){ 0, 0 };
    say("watchdog 0, timeout 0", hypercall(sched_op, SCHEDOP_watchdog, &dog));
    for (u32 id = 1; id <= 2; id++) {
        dog = (struct sched_watchdog){ id, 0 };
        hypercall(sched_op, SCHEDOP_watchdog, &dog);
    }
    u32 code = SHUTDOWN_poweroff;
    say("shutdown code", hypercall(sched_op, SCHEDOP_shutdown_code, &code));
    struct sched_remote_shutdown remote = { DOMID_SELF, 0 };
    say("remote shutdown of ourselves", hypercall(sched_op, SCHEDOP_remote_shutdown, &remote));
    remote = (struct sched_remote_shutdown){ 0, 0 };
    say("remote shutdown of domain 0", hypercall(sched_op, SCHEDOP_remote_shutdown, &remote));
    remote = (struct sched_remote_shutdown){ 77, 0 };
    say("remote shutdown of domain 77", hypercall(sched_op, SCHEDOP_remote_shutdown, &remote));
    struct sched_pin_override pin = { 0 };
    say("pin override", hypercall(sched_op, SCHEDOP_pin_override, &pin));
    say("sched_op 99", hypercall(sched_op, 99, 0));
    say("shutdown, bad pointer", hypercall(sched_op, SCHEDOP_shutdown, 0x1000));
    say("sched_op_compat yield", hypercall(sched_op_compat, 0, 0));
    say("down 1", hypercall(vcpu_op, VCPUOP_down, 1, 0));
}
