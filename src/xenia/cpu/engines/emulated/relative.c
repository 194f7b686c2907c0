/*
 * Blocks of user code that run wherever their page is mapped.
 *
 * QEMU finds a block by where its code is in memory and by its virtual address, which it has built into what it
 * translated.  A distribution's programs and libraries are at another address in each process, so that each process
 * would translate all of them anew: two thirds of what `bash` takes to run /bin/true.  Here 64-bit user code is
 * translated as if its page were at RELATIVE, where no guest has anything, and each number in the translation that was
 * made of an address adds the page's (`code_page` of the processor) when it runs.  So one translation serves all
 * processes and all addresses.
 *
 * `code_page` is set whenever translated code is entered: by the loop that runs blocks, or by a jump that is looked
 * up.  A relative block is linked to relative blocks of its own page alone, so the page stays right in between.
 *
 * Which numbers are made of an address?  Those near RELATIVE.  A displacement has 32 bits, and QEMU itself uses no
 * such number, so only a 64-bit one in the code could be mistaken for it; and a jump with an operand of 16 bits cuts
 * its target off.  A block with either is translated for its own address, as QEMU does it.  So are those that are to
 * stop at a breakpoint or after some instructions.
 *
 *   tb_gen_code              asked for a block at an address: the relative one, if there is one, or made now
 *   get_page_addr_code       where code at an address from RELATIVE on is
 *   restore_state_to_opc     rip of an instruction that faults
 *   the prologue             which runs translated code: sets the page; and rip, where a block stops before it began
 */
#include "interpose.h"

#define INDEX_OP_LD_I64 0x49
#define INDEX_OP_ADD_I64 0x4e
#define REACH (1ull << 31) /* of a displacement */

extern TranslatedBlock *__real_tb_gen_code_x86_64(void *cpu, uint64_t pc, uint64_t cs_base, uint32_t flags,
                                                  uint32_t cflags);
extern uint64_t __real_get_page_addr_code_x86_64(CPUX86State *env, uint64_t va);
extern void __real_restore_state_to_opc_x86_64(CPUX86State *env, TranslatedBlock *block, uint64_t *data);
extern TranslatedBlock *tb_htable_lookup_x86_64(void *cpu, uint64_t pc, uint64_t cs_base, uint32_t flags,
                                                uint32_t cflags);
extern TcgTemp *tcg_temp_new_internal_x86_64(TcgContext *tcg, int type, bool local);
extern void tcg_temp_free_internal_x86_64(TcgContext *tcg, TcgTemp *temp);
extern TcgOp *tcg_op_insert_before_x86_64(TcgContext *tcg, TcgOp *op, int opcode);

/* ---- finding them ---- */

static bool may_be_relative(uint64_t pc, uint64_t cs_base, uint32_t flags)
{
    const uint32_t what = HF_CPL | HF_CS64 | HF_TF, user = HF_CPL | HF_CS64;
    return (flags & what) == user && cs_base == 0 && pc >> 47 == 0;
}

static inline TranslatedBlock *find(CPUX86State *env, uint32_t flags, uint32_t cflags)
{
    return tb_htable_lookup_x86_64((uint8_t *)env - CPU_ENV, RELATIVE | (env->eip & 0xfff), 0, flags, cflags);
}

TranslatedBlock *relative_find(Interposed *engine, CPUX86State *env, uint32_t flags)
{
    return may_be_relative(env->eip, env->segs[SREG_CS].base, flags) ? find(env, flags, engine->cflags) : NULL;
}

uint64_t __wrap_get_page_addr_code_x86_64(CPUX86State *env, uint64_t va)
{
    return __real_get_page_addr_code_x86_64(env, code_address(env, va));
}

static inline unsigned nr_places(const Interposed *engine) { return sizeof engine->places / sizeof *engine->places; }

/* What the loop that runs blocks is to keep in its cache (`tb_jmp_cache`), which it asks first: the block, as if it had
 * that address.  Nothing is linked to it, for it is said to lie on two pages. */
static TranslatedBlock *place(Interposed *engine, TranslatedBlock *block, uint64_t pc)
{
    TranslatedBlock *placed = &engine->places[(pc ^ pc >> 12) % nr_places(engine)];
    *placed = *block;
    placed->pc = pc;
    placed->page_addr[1] = 0;
    engine->placed = true;
    return placed;
}

void relative_forget(Interposed *engine)
{
    for (unsigned i = 0; engine->placed && i < nr_places(engine); i++)
        engine->places[i].cflags |= CF_INVALID;
    engine->placed = false;
}

TranslatedBlock *__wrap_tb_gen_code_x86_64(void *cpu, uint64_t pc, uint64_t cs_base, uint32_t flags, uint32_t cflags)
{
    Interposed *engine = interposed_current;
    CPUX86State *env = (CPUX86State *)((uint8_t *)cpu + CPU_ENV);
    bool stops = FIELD(cpu, CPU_BREAKPOINTS, void *) != NULL || engine->stops.nr_breakpoints;
    TranslatedBlock *block;
    if (stops || pc == engine->fixed || cflags & (CF_COUNT_MASK | CF_NOCACHE) || !may_be_relative(pc, cs_base, flags))
        return __real_tb_gen_code_x86_64(cpu, pc, cs_base, flags, cflags);
    engine->cflags = cflags | CF_CLUSTER;
    block = find(env, flags, engine->cflags);
    if (block == NULL)
        block = __real_tb_gen_code_x86_64(cpu, RELATIVE | (pc & 0xfff), 0, flags, cflags);
    return place(engine, block, pc);
}

/* ---- running them ---- */

static uintptr_t run(CPUX86State *env, void *code)
{
    env->code_page = env->eip & ~0xfffull;
    uintptr_t end = interposed_current->prologue(env, code);
    const TranslatedBlock *block = (TranslatedBlock *)(end & ~(uintptr_t)3);
    if ((end & 3) != TB_EXIT_REQUESTED || !is_relative(block))
        return end;
    env->eip = block->pc - RELATIVE + env->code_page;
    return 0;
}

void relative_begin(Interposed *engine, uc_engine *uc)
{
    void **prologue = &FIELD(FIELD(uc, UC_TCG_CONTEXT, uint8_t *), TCG_CONTEXT_PROLOGUE, void *);
    engine->fixed = UINT64_MAX;
    engine->prologue = (uintptr_t (*)(CPUX86State *, void *))*prologue;
    *prologue = (void *)run;
}

void __wrap_restore_state_to_opc_x86_64(CPUX86State *env, TranslatedBlock *block, uint64_t *data)
{
    __real_restore_state_to_opc_x86_64(env, block, data);
    if (is_relative(block))
        env->eip += env->code_page - RELATIVE;
}

/* ---- translating them ---- */

static __thread const TranslatedBlock *translated;
static __thread TcgTemp *offset; /* nothing else in the block uses it */

void relative_translate(TcgContext *tcg, const TranslatedBlock *block)
{
    translated = block;
    if (is_relative(block))
        offset = tcg_temp_new_internal_x86_64(tcg, TCG_TYPE_I64, false);
}

/* Not to be one: begin it anew, as a block of its own address. */
static void fix(CPUX86State *env)
{
    interposed_current->fixed = env->eip;
    cpu_loop_exit_noexc_x86_64((uint8_t *)env - CPU_ENV);
}

static inline bool is_near(uint64_t value) { return value - (RELATIVE - REACH) < 2 * REACH + 2 * 4096; }

void relative_number(CPUX86State *env, uint64_t value)
{
    if (is_relative(translated) && is_near(value))
        fix(env);
}

/* Is rip set to a number that was made of an address, and cut off? */
static bool is_cut_off(TcgContext *tcg, const TcgOp *op)
{
    const TcgOp *next = op->next;
    return next != NULL && next->opcode == INDEX_OP_ST_I64 && next->args[0] == op->args[0] &&
           next->args[1] == (TcgArg)TCG_CPU_ENV(tcg) && next->args[2] == offsetof(CPUX86State, eip) &&
           !is_near(op->args[1]);
}

void relative_finish(CPUX86State *env, TcgContext *tcg, const TranslatedBlock *block)
{
    TcgOp *op = tcg_last_op(tcg), *before;
    if (!is_relative(block))
        return;
    for (int left = FIELD(tcg, TCG_CONTEXT_NR_OPS, int); left; left--, op = before) {
        before = tcg_op_before(op);
        if (op->opcode != INDEX_OP_MOVI_I64)
            continue;
        if (is_cut_off(tcg, op))
            fix(env);
        if (!is_near(op->args[1]))
            continue;
        TcgArg result = op->args[0];
        TcgOp *made = tcg_op_insert_before_x86_64(tcg, op, INDEX_OP_MOVI_I64);
        made->args[0] = (TcgArg)offset;
        made->args[1] = op->args[1] - RELATIVE;
        made = tcg_op_insert_before_x86_64(tcg, op, INDEX_OP_LD_I64);
        made->args[0] = result;
        made->args[1] = (TcgArg)TCG_CPU_ENV(tcg);
        made->args[2] = offsetof(CPUX86State, code_page);
        op->opcode = INDEX_OP_ADD_I64;
        op->args[1] = result;
        op->args[2] = (TcgArg)offset;
    }
    tcg_temp_free_internal_x86_64(tcg, offset);
}
