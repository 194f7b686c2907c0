/*
 * Segment registers and far jumps, in ring 3 whichever mode the guest is in: its kernel believes itself there, as it is
 * on real Xen, while its code runs in ring 1 here.  Where QEMU compares privilege levels with the ring that it is in,
 * these take that for 3, and never change it.  There are no gates that lead anywhere, no TSS and no other ring to go
 * to, so little is left of what a processor does.
 *
 *   load_seg                     mov, pop and the like to a segment register
 *   ljmp, lcall, lret, iret      in protected mode.  QEMU reaches the stack with the kernel's rights, and goes to
 *                                addresses that are not canonical.
 *   lar, lsl, verr, verw         a selector of level 3 is never looked at with more rights than those of ring 3
 *
 * Descriptors were checked when the guest gave them (mm/pv/descriptor_check): every present one has its accessed bit
 * set.
 */
#include "interpose.h"

#define VECTOR_NP 11
#define VECTOR_SS 12
#define VECTOR_GP 13

#define DESC_A (1u << 8)
#define DESC_RW (1u << 9) /* readable code, writable data */
#define DESC_CONFORMING (1u << 10)
#define DESC_CODE (1u << 11)
#define DESC_TYPE (15u << 8)
#define DESC_CALL_GATE (12u << 8)
#define DESC_S (1u << 12)
#define DESC_DPL (3u << 13)
#define DESC_P (1u << 15)
#define DESC_L (1u << 21)
#define DESC_B (1u << 22)
#define DESC_G (1u << 23)

#define FLAT (DESC_G | DESC_P | DESC_DPL | DESC_S | DESC_RW | DESC_A)
#define FLAT_CS64 0xe033
#define FLAT_CS32 0xe023
#define FLAT_SS 0xe02b

#define IRET_FLAGS 0x254100u /* TF NT RF AC ID */
#define CC_FLAGS 0x8d5u
#define FLAG_DF 0x400u
#define FLAG_NT 0x4000u

#define RETADDR ((uintptr_t)__builtin_return_address(0))

extern uint64_t helper_le_ldq_mmu_x86_64(CPUX86State *env, uint64_t va, uint32_t oi, uintptr_t retaddr);
#define AS_KERNEL(size_log2) ((size_log2) << 4 | MMU_KERNEL_IDX)

static _Noreturn void refuse(CPUX86State *env, int vector, unsigned selector, uintptr_t retaddr)
{
    env->old_exception = -1;
    raise_exception_err_ra_x86_64(env, vector, selector & 0xfffc, retaddr);
    __builtin_unreachable();
}

/* ---- descriptors ---- */

static SegmentCache unpacked(unsigned selector, uint64_t descriptor)
{
    uint32_t low = descriptor, high = descriptor >> 32;
    SegmentCache segment = {selector, 0, UINT32_MAX, high & 0x00f0ff00};
    if (segment.flags & DESC_L)
        return segment;
    segment.base = low >> 16 | (high & 0xff) << 16 | (high & 0xff000000);
    segment.limit = (low & 0xffff) | (high & 0xf0000);
    if (segment.flags & DESC_G)
        segment.limit = segment.limit << 12 | 0xfff;
    return segment;
}

static bool place(const CPUX86State *env, unsigned selector, uint64_t *va)
{
    const SegmentCache *table = selector & 4 ? &env->ldt : &env->gdt;
    *va = table->base + (selector & 0xfff8);
    return (selector & 0xfff8) + 7 <= table->limit;
}

static SegmentCache find(CPUX86State *env, unsigned selector, uintptr_t retaddr)
{
    uint64_t va;
    if (!place(env, selector, &va))
        refuse(env, VECTOR_GP, selector, retaddr);
    return unpacked(selector, helper_le_ldq_mmu_x86_64(env, va, AS_KERNEL(3), retaddr));
}

static inline unsigned level(SegmentCache segment) { return (segment.flags & DESC_DPL) / (DESC_DPL / 3); }

static SegmentCache code_segment(CPUX86State *env, unsigned selector, uintptr_t retaddr)
{
    if (!(selector & 0xfffc))
        refuse(env, VECTOR_GP, 0, retaddr);
    SegmentCache segment = find(env, selector | 3, retaddr);
    if ((segment.flags & (DESC_S | DESC_CODE)) != (DESC_S | DESC_CODE) ||
        (segment.flags & (DESC_L | DESC_B)) == (DESC_L | DESC_B) ||
        (!(segment.flags & DESC_CONFORMING) && level(segment) != 3))
        refuse(env, VECTOR_GP, selector, retaddr);
    if (!(segment.flags & DESC_P))
        refuse(env, VECTOR_NP, selector, retaddr);
    return segment;
}

static SegmentCache stack_segment(CPUX86State *env, unsigned selector, uintptr_t retaddr)
{
    if (!(selector & 0xfffc))
        refuse(env, VECTOR_GP, 0, retaddr);
    SegmentCache segment = find(env, selector, retaddr);
    if ((segment.flags & (DESC_S | DESC_CODE | DESC_RW)) != (DESC_S | DESC_RW) || (selector & 3) != 3 ||
        level(segment) != 3)
        refuse(env, VECTOR_GP, selector, retaddr);
    if (!(segment.flags & DESC_P))
        refuse(env, VECTOR_SS, selector, retaddr);
    return segment;
}

static SegmentCache data_segment(CPUX86State *env, unsigned selector, uintptr_t retaddr)
{
    if (!(selector & 0xfffc))
        return (SegmentCache){selector, 0, 0, 0};
    SegmentCache segment = find(env, selector, retaddr);
    bool any_level = (segment.flags & DESC_CODE) && (segment.flags & DESC_CONFORMING);
    if (!(segment.flags & DESC_S) || (segment.flags & (DESC_CODE | DESC_RW)) == DESC_CODE ||
        (!any_level && level(segment) != 3))
        refuse(env, VECTOR_GP, selector, retaddr);
    if (!(segment.flags & DESC_P))
        refuse(env, VECTOR_NP, selector, retaddr);
    return segment;
}

static void reload_hflags(CPUX86State *env)
{
    const SegmentCache *code = &env->segs[SREG_CS], *stack = &env->segs[SREG_SS];
    env->hflags &= ~(HF_CS32 | HF_CS64 | HF_SS32 | HF_ADDSEG);
    if (code->flags & DESC_L) {
        env->hflags |= HF_CS32 | HF_SS32 | HF_CS64;
        return;
    }
    if (code->flags & DESC_B)
        env->hflags |= HF_CS32;
    if (stack->flags & DESC_B)
        env->hflags |= HF_SS32;
    if (!(code->flags & DESC_B) || env->segs[SREG_DS].base | env->segs[SREG_ES].base | stack->base)
        env->hflags |= HF_ADDSEG;
}

void __wrap_helper_load_seg_x86_64(CPUX86State *env, int sreg, int selector)
{
    unsigned wanted = (uint16_t)selector;
    env->segs[sreg] = sreg == SREG_SS ? stack_segment(env, wanted, RETADDR) : data_segment(env, wanted, RETADDR);
    if (sreg <= SREG_DS)
        reload_hflags(env);
}

/* ---- the stack ---- */

typedef struct {
    CPUX86State *env;
    uint64_t sp, base, mask;
    unsigned size; /* of an element */
    uintptr_t retaddr;
} Stack;

static uint64_t stack_mask(bool long_mode, const SegmentCache *segment)
{
    return long_mode ? UINT64_MAX : segment->flags & DESC_B ? UINT32_MAX : UINT16_MAX;
}

static Stack stack_of(CPUX86State *env, int shift, uintptr_t retaddr)
{
    const SegmentCache *segment = &env->segs[SREG_SS];
    bool long_mode = env->hflags & HF_CS64;
    return (Stack){env, env->regs[REG_RSP], long_mode ? 0 : segment->base, stack_mask(long_mode, segment), 2u << shift,
                   retaddr};
}

static uint64_t stack_va(const Stack *stack)
{
    uint64_t va = stack->base + (stack->sp & stack->mask);
    return stack->mask == UINT64_MAX ? va : (uint32_t)va;
}

static void push(Stack *stack, uint64_t value)
{
    stack->sp -= stack->size;
    if (stack->size == 8)
        cpu_stq_data_ra_x86_64(stack->env, stack_va(stack), value, stack->retaddr);
    else if (stack->size == 4)
        cpu_stl_data_ra_x86_64(stack->env, stack_va(stack), value, stack->retaddr);
    else
        cpu_stw_data_ra_x86_64(stack->env, stack_va(stack), value, stack->retaddr);
}

static uint64_t pop(Stack *stack)
{
    uint64_t va = stack_va(stack);
    stack->sp += stack->size;
    if (stack->size == 8)
        return cpu_ldq_data_ra_x86_64(stack->env, va, stack->retaddr);
    if (stack->size == 4)
        return cpu_ldl_data_ra_x86_64(stack->env, va, stack->retaddr);
    return cpu_lduw_data_ra_x86_64(stack->env, va, stack->retaddr);
}

static void set_rsp(CPUX86State *env, uint64_t value, uint64_t mask)
{
    env->regs[REG_RSP] = mask == UINT16_MAX ? (env->regs[REG_RSP] & ~mask) | (value & mask) : value & mask;
}

/* ---- far jumps ---- */

/* May code of that segment go on at `eip`? */
static void check_target(CPUX86State *env, SegmentCache code, uint64_t eip, uintptr_t retaddr)
{
    int64_t sign = (int64_t)eip >> 47;
    if (code.flags & DESC_L ? sign != 0 && sign != -1 : eip > code.limit)
        refuse(env, VECTOR_GP, 0, retaddr);
}

static void go_on(CPUX86State *env, SegmentCache code, uint64_t eip)
{
    env->segs[SREG_CS] = code;
    env->eip = eip;
    reload_hflags(env);
}

/* A gate that is there has level 0, so that nothing goes through it. */
static SegmentCache jump_segment(CPUX86State *env, unsigned selector, uintptr_t retaddr)
{
    if (selector & 0xfffc) {
        uint32_t flags = find(env, selector, retaddr).flags;
        if ((flags & (DESC_S | DESC_P | DESC_DPL | DESC_TYPE)) == (DESC_DPL | DESC_CALL_GATE))
            refuse(env, VECTOR_NP, selector, retaddr);
    }
    return code_segment(env, selector, retaddr);
}

void __wrap_helper_ljmp_protected_x86_64(CPUX86State *env, int selector, uint64_t eip, uint64_t next)
{
    SegmentCache code = jump_segment(env, (uint16_t)selector, RETADDR);
    (void)next;
    check_target(env, code, eip, RETADDR);
    go_on(env, code, eip);
}

void __wrap_helper_lcall_protected_x86_64(CPUX86State *env, int selector, uint64_t eip, int shift, uint64_t next)
{
    SegmentCache code = jump_segment(env, (uint16_t)selector, RETADDR);
    Stack stack = stack_of(env, shift, RETADDR);
    check_target(env, code, eip, RETADDR);
    push(&stack, env->segs[SREG_CS].selector);
    push(&stack, next);
    set_rsp(env, stack.sp, stack.mask);
    go_on(env, code, eip);
}

/* The code segment that is popped: there is no way to an inner ring. */
static SegmentCache return_segment(CPUX86State *env, unsigned selector, uintptr_t retaddr)
{
    if (selector & 0xfffc && (selector & 3) != 3)
        refuse(env, VECTOR_GP, selector, retaddr);
    return code_segment(env, selector, retaddr);
}

void __wrap_helper_lret_protected_x86_64(CPUX86State *env, int shift, int addend)
{
    Stack stack = stack_of(env, shift, RETADDR);
    uint64_t eip = pop(&stack);
    SegmentCache code = return_segment(env, (uint16_t)pop(&stack), RETADDR);
    check_target(env, code, eip, RETADDR);
    set_rsp(env, stack.sp + addend, stack.mask);
    go_on(env, code, eip);
}

void __wrap_helper_iret_protected_x86_64(CPUX86State *env, int shift, int next)
{
    Stack stack = stack_of(env, shift, RETADDR);
    bool with_stack = env->hflags & HF_CS64;
    uint32_t accepted = stack.size == 2 ? (uint16_t)IRET_FLAGS : IRET_FLAGS;
    (void)next;
    if (env->eflags & FLAG_NT)
        refuse(env, VECTOR_GP, 0, RETADDR);
    uint64_t eip = pop(&stack), selector = pop(&stack), flags = pop(&stack), sp = 0;
    SegmentCache code = return_segment(env, (uint16_t)selector, RETADDR), ss = env->segs[SREG_SS];
    if (with_stack) {
        sp = pop(&stack);
        ss = stack_segment(env, (uint16_t)pop(&stack), RETADDR);
    }
    check_target(env, code, eip, RETADDR);
    env->segs[SREG_SS] = ss;
    set_rsp(env, with_stack ? sp : stack.sp, with_stack ? stack_mask(code.flags & DESC_L, &ss) : stack.mask);
    env->cc_src = flags & CC_FLAGS;
    env->cc_op = CC_OP_EFLAGS;
    env->df = flags & FLAG_DF ? -1 : 1;
    env->eflags = (env->eflags & ~(uint64_t)accepted) | (flags & accepted);
    go_on(env, code, eip);
}

/* ---- looking at a selector ---- */

#define LOOK(name, result)                                                                    \
    extern result __real_helper_##name##_x86_64(CPUX86State *env, uint64_t selector);         \
    result __wrap_helper_##name##_x86_64(CPUX86State *env, uint64_t selector)                 \
    {                                                                                         \
        return __real_helper_##name##_x86_64(env, selector | 3);                              \
    }
LOOK(lar, uint64_t)
LOOK(lsl, uint64_t)
LOOK(verr, void)
LOOK(verw, void)

/* ---- CS, SS and the ring as the core gives them ---- */

/* What a selector stands for: flat where it is one of the ABI's or names nothing, else what the guest's tables say. */
static SegmentCache given(Interposed *engine, CPUX86State *env, unsigned selector, uint32_t flat)
{
    uint64_t va;
    uint8_t *descriptor = NULL;
    if (selector != FLAT_CS64 && selector != FLAT_CS32 && selector != FLAT_SS && place(env, selector, &va))
        descriptor = interposed_walk(engine, env, va);
    return descriptor ? unpacked(selector, *(uint64_t *)descriptor) : (SegmentCache){selector, 0, UINT32_MAX, flat};
}

void segments_ring(CPUX86State *env, bool kernel)
{
    reload_hflags(env);
    env->hflags = (env->hflags & ~HF_CPL) | (kernel ? 1 : 3);
}

void segments_enter(Interposed *engine, CPUX86State *env, unsigned cs, unsigned ss, bool kernel)
{
    SegmentCache *stack = &env->segs[SREG_SS];
    env->segs[SREG_CS] = given(engine, env, cs, FLAT | DESC_CODE | (cs == FLAT_CS32 ? DESC_B : DESC_L));
    if (!(env->segs[SREG_CS].flags & DESC_L))
        *stack = given(engine, env, ss, FLAT | DESC_B);
    else if (stack->selector != ss) /* there it is no more than its selector */
        *stack = (SegmentCache){ss, 0, UINT32_MAX, FLAT | DESC_B};
    segments_ring(env, kernel);
}
