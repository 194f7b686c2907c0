/* Further vcpus. */
#include "kit.h"

struct vcpu_guest_context *vcpu_context(void (*entry)(void))
{
    struct vcpu_guest_context *given = page_alloc();
    page_alloc();
    u8 *stack = page_alloc();
    given->flags = VGCF_in_kernel;
    given->rip = (u64)entry;
    given->rsp = given->kernel_sp = (u64)stack + PAGE - 8;
    given->rflags = 2;
    given->cs = FLAT_KERNEL_CS;
    given->ss = FLAT_KERNEL_SS;
    given->ctrlreg[3] = l4_mfn() * PAGE;
    return given;
}
