/* A user address space with one page of code and one of data, and the way to run in it. */
#include "kit.h"

struct frame *user_frame_active;
u64 user_l4_mfn;
static struct frame frame_now;
static void *code_page;

void user_start(void)
{
    code_page = page_alloc();
    map_page(USER_CODE, virt_to_mfn(code_page) * PAGE | USER_PTE);
    map_page(USER_DATA, virt_to_mfn(page_alloc()) * PAGE | USER_PTE);
    u64 *l4 = page_alloc();
    l4[0] = *pte_of(0, 4);
    page_readonly(l4);
    user_l4_mfn = virt_to_mfn(l4);
    mmuext(MMUEXT_PIN_L4_TABLE, user_l4_mfn, 0);
    mmuext(MMUEXT_NEW_USER_BASEPTR, user_l4_mfn, 0);
    hypercall(stack_switch, FLAT_KERNEL_SS, user_entry_stack);
}

void user_load(const void *code, u64 length)
{
    memcpy(code_page, code, length);
}

struct frame user_frame(void)
{
    return (struct frame){ .rip = USER_CODE, .cs = FLAT_USER_CS, .rflags = 0x202, .rsp = USER_DATA + PAGE,
                           .ss = FLAT_USER_SS };
}

extern void user_enter(struct frame *frame);

void user_run(struct frame *frame)
{
    frame_now = *frame;
    user_frame_active = &frame_now;
    user_enter(&frame_now);
    user_frame_active = NULL;
    *frame = frame_now;
}
