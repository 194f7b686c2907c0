/*
 * `rep movs` and `rep stos`, as a guest kernel copies and clears pages with them.
 *
 * QEMU does one element for each pass through a block of its own.  Here the translation of such an instruction begins
 * with a call that does at once, a page after the other, what lies in plain memory, and leaves the rest to QEMU: an
 * element across two pages, a page of translated code, a watchpoint, a fault, going downwards.  That call never fails
 * and never does what QEMU's translation would not have done.  Of two pages that have one place in the TLB, one is in
 * the victims: both are found where they are.
 *
 *   translator_loop   lets us see each instruction before it is translated
 *   helper_vmload     what the call goes to: the name of a helper that QEMU knows and that no guest can reach, because
 *                     no processor here has SVM
 */
#include "interpose.h"

#define RCX 1
#define RSI 6
#define RDI 7

/* The argument of the call: the width of an element, and with STOS, rax is stored. */
#define STOS 16

#define AT_ONCE (64 << 10) /* bytes, between two looks at whether to stop */

typedef struct {
    void *init_disas_context, *tb_start, *insn_start, *breakpoint_check;
    void (*translate_insn)(void *translation, void *cpu);
    void *tb_stop, *disas_log;
} TranslatorOps;

typedef struct {
    TranslatedBlock *block;
    uint64_t pc_first, pc_next;
} Translation;

extern void __real_translator_loop_x86_64(const TranslatorOps *ops, Translation *translation, void *cpu,
                                          TranslatedBlock *block, int max_insns);
extern void helper_vmload_x86_64(CPUX86State *env, int kind);
extern void tcg_gen_callN_x86_64(TcgContext *tcg, void *function, TcgTemp *result, int count, TcgTemp **args);
extern uintptr_t tcg_const_i32_x86_64(TcgContext *tcg, int32_t value);
extern void tcg_temp_free_internal_x86_64(TcgContext *tcg, TcgTemp *temp);

static void fill(uint8_t *to, uint64_t value, unsigned width, uint64_t length)
{
    if (width == 1 || value == 0) {
        memset(to, (uint8_t)value, length);
        return;
    }
    for (uint64_t at = 0; at < length; at += width)
        memcpy(to + at, &value, width);
}

/* The plain memory at `va`, whose page the TLB now knows; NULL for an element that is QEMU's to do, or to fault at. */
static uint8_t *reach(CPUX86State *env, uint64_t va, bool store)
{
    void *cpu = (uint8_t *)env - CPU_ENV;
    uint64_t page = va & ~0xfffull;
    const TlbEntry *entry = tlb_entry(env, va);
    const TlbEntry *victims = TLB_DESCRIPTOR(cpu, mode_of(env))->victims;
    for (int i = 0; !leads_to(store ? entry->addr_write : entry->addr_read, va); i++) {
        if (i == VICTIM_ENTRIES) {
            if (!__wrap_x86_cpu_tlb_fill_x86_64(cpu, va, 1, store, mode_of(env), true, 0))
                return NULL;
            entry = tlb_entry(env, va);
            break;
        }
        entry = &victims[i];
    }
    return (store ? entry->addr_write : entry->addr_read) == page ? (uint8_t *)(entry->addend + va) : NULL;
}

/* Elements up to the next end of a page; how many bytes, 0 when there are none to be done here. */
static uint64_t do_page(CPUX86State *env, unsigned width, bool stos)
{
    uint64_t destination = env->regs[RDI], source = env->regs[RSI], count = env->regs[RCX];
    uint64_t length = 4096 - (destination & 0xfff);
    if (!stos && 4096 - (source & 0xfff) < length)
        length = 4096 - (source & 0xfff);
    length = (count < length / width ? count : length / width) * width;
    if (length == 0)
        return 0;
    const uint8_t *from = stos ? NULL : reach(env, source, false);
    uint8_t *to = stos || from ? reach(env, destination, true) : NULL;
    if (to == NULL || (from && to > from && to < from + length))
        return 0; /* where they overlap so, what is copied is read again */
    if (stos) {
        fill(to, env->regs[0], width, length);
    } else {
        memmove(to, from, length);
        env->regs[RSI] += length;
    }
    env->regs[RDI] += length;
    env->regs[RCX] -= length / width;
    return length;
}

void __wrap_helper_vmload_x86_64(CPUX86State *env, int kind)
{
    if (env->df != 1)
        return;
    for (uint64_t done = 0, length; done < AT_ONCE; done += length)
        if ((length = do_page(env, kind & 15, kind & STOS)) == 0)
            return;
}

/* What the call is to do for the instruction at `pc`; 0 for any other instruction. */
static int kind_at(CPUX86State *env, uint64_t pc)
{
    pc = code_address(env, pc);
    TlbEntry *entry = tlb_entry(env, pc);
    const uint8_t *code = (uint8_t *)(entry->addend + pc);
    if (!leads_to(entry->addr_code, pc) || (pc & 0xfff) > 4096 - 3 ||
        code[0] != 0xf3)
        return 0;
    bool wide = code[1] == 0x48;
    switch (code[1 + wide]) {
    case 0xa4: return 1;
    case 0xa5: return wide ? 8 : 4;
    case 0xaa: return STOS | 1;
    case 0xab: return STOS | (wide ? 8 : 4);
    default: return 0;
    }
}

static __thread const TranslatorOps *translator;

static void translate_insn(Translation *translation, void *cpu)
{
    CPUX86State *env = (CPUX86State *)((uint8_t *)cpu + CPU_ENV);
    TcgContext *tcg = FIELD(FIELD(cpu, CPU_UC, void *), UC_TCG_CONTEXT, TcgContext *);
    int kind = translation->block->flags & HF_TF ? 0 : kind_at(env, translation->pc_next);
    bases_translate(env, tcg, translation->pc_next);
    if (kind) {
        TcgTemp *argument = (uint8_t *)tcg + tcg_const_i32_x86_64(tcg, kind);
        tcg_gen_callN_x86_64(tcg, helper_vmload_x86_64, NULL, 2, (TcgTemp *[]){TCG_CPU_ENV(tcg), argument});
        tcg_temp_free_internal_x86_64(tcg, argument);
    }
    translator->translate_insn(translation, cpu);
}

void __wrap_translator_loop_x86_64(const TranslatorOps *ops, Translation *translation, void *cpu,
                                   TranslatedBlock *block, int max_insns)
{
    TranslatorOps ours = *ops;
    TcgContext *tcg = FIELD(FIELD(cpu, CPU_UC, void *), UC_TCG_CONTEXT, TcgContext *);
    links_translate(block);
    stops_translate(block);
    relative_translate(tcg, block);
    debug_translate(interposed_current, cpu, block);
    if (block->flags & HF_CS64) {
        translator = ops;
        ours.translate_insn = (void (*)(void *, void *))translate_insn;
    }
    __real_translator_loop_x86_64(&ours, translation, cpu, block, max_insns);
    relative_finish((CPUX86State *)((uint8_t *)cpu + CPU_ENV), tcg, block);
    interposed_current->blocks++;
}
