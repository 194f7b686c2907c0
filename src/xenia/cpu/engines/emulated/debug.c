/*
 * Where a debugger wants the guest to stop.
 *
 * A breakpoint is in QEMU's own list, as those of the guest's debug registers are, but of the kind that its gdbstub
 * sets: the translator ends a block there, and cpu_exec answers EXCP_DEBUG.  Nothing is written to memory, and an
 * address counts in whatever address space.  A debugger takes its breakpoints away and sets them again all the time; so
 * when the list changes, only blocks with an instruction where it changed are forgotten.
 *
 * What runs with the resume flag set does not stop at its first instruction.  Blocks that are translated with it know
 * no breakpoint of a debugger's, and one instruction later the flag is gone (registers.pxd, `step`).
 *
 * A watchpoint is looked at beside dr0 to dr3 (interpose.c).
 */
#include "interpose.h"

extern void tcg_tb_foreach_x86_64(TcgContext *tcg, int (*visit)(void *, void *, void *), void *data);
extern void tb_phys_invalidate_x86_64(TcgContext *tcg, TranslatedBlock *block, uint64_t page);

typedef struct {
    TcgContext *tcg;
    uint64_t changed[2 * MAX_STOPS];
    unsigned nr;
} Forgetting;

/* Does the block have an instruction at `pc`, or might it? */
static bool has(const TranslatedBlock *block, uint64_t pc)
{
    uint64_t at = pc - block->pc - block->cs_base;
    return (is_relative(block) ? at % 4096 : at) < block->size;
}

/* A GTraverseFunc: false goes on. */
static int forget_block(void *key, void *value, void *data)
{
    TranslatedBlock *block = value;
    Forgetting *forgetting = data;
    (void)key;
    if (block->cflags & CF_INVALID)
        return false;
    for (unsigned i = 0; i < forgetting->nr; i++)
        if (has(block, forgetting->changed[i])) {
            tb_phys_invalidate_x86_64(forgetting->tcg, block, UINT64_MAX);
            break;
        }
    return false;
}

static bool is_among(const Breakpoint *breakpoints, unsigned nr, uint64_t pc)
{
    for (unsigned i = 0; i < nr; i++)
        if (breakpoints[i].pc == pc)
            return true;
    return false;
}

static inline Breakpoint **first_of(void *cpu) { return &FIELD(cpu, CPU_BREAKPOINTS, Breakpoint *); }

/* `first` follows where `from` is; NULL: nobody does. */
static void link_first(void *cpu, Breakpoint **from, Breakpoint *first)
{
    Breakpoint ***end = (Breakpoint ***)(first_of(cpu) + 1);
    *from = first;
    if (first != NULL)
        first->before = from;
    else
        *end = from;
}

static unsigned take_out(Interposed *engine, void *cpu)
{
    Stops *ours = &engine->stops;
    if (ours->nr_breakpoints)
        link_first(cpu, first_of(cpu), ours->breakpoints[ours->nr_breakpoints - 1].next);
    return ours->nr_breakpoints;
}

static void put_in(Interposed *engine, void *cpu, unsigned nr)
{
    Stops *ours = &engine->stops;
    Breakpoint *rest = *first_of(cpu);
    ours->nr_breakpoints = nr;
    if (nr == 0)
        return;
    for (unsigned i = 0; i + 1 < nr; i++) {
        ours->breakpoints[i].next = &ours->breakpoints[i + 1];
        ours->breakpoints[i + 1].before = &ours->breakpoints[i].next;
    }
    link_first(cpu, &ours->breakpoints[nr - 1].next, rest);
    *first_of(cpu) = &ours->breakpoints[0];
    ours->breakpoints[0].before = first_of(cpu);
}

void debug_set_stops(Interposed *engine, void *cpu, const void *places, unsigned nr)
{
    const Stop *stops = places;
    Stops *ours = &engine->stops;
    Breakpoint wanted[MAX_STOPS];
    Forgetting forgetting = {FIELD(FIELD(cpu, CPU_UC, void *), UC_TCG_CONTEXT, TcgContext *), {0}, 0};
    unsigned nr_wanted = 0, before = take_out(engine, cpu), had_watches = ours->nr_watches;

    ours->nr_watches = 0;
    for (unsigned i = 0; i < nr && i < MAX_STOPS; i++) {
        if (stops[i].kind != STOP_AT_CODE) {
            ours->watches[ours->nr_watches++] = stops[i];
        } else if (!is_among(wanted, nr_wanted, stops[i].address)) {
            wanted[nr_wanted++] = (Breakpoint){stops[i].address, BP_GDB, NULL, NULL};
            if (!is_among(ours->breakpoints, before, stops[i].address))
                forgetting.changed[forgetting.nr++] = stops[i].address;
        }
    }
    for (unsigned i = 0; i < before; i++)
        if (!is_among(wanted, nr_wanted, ours->breakpoints[i].pc))
            forgetting.changed[forgetting.nr++] = ours->breakpoints[i].pc;
    memcpy(ours->breakpoints, wanted, nr_wanted * sizeof *wanted);
    put_in(engine, cpu, nr_wanted);
    if (forgetting.nr)
        tcg_tb_foreach_x86_64(forgetting.tcg, forget_block, &forgetting);
    if (had_watches || ours->nr_watches)
        tlb_flush_x86_64(cpu); /* what it holds says which pages are watched */
}

uint32_t debug_watched(Interposed *engine, uint64_t va, uint64_t length, bool store)
{
    for (unsigned i = 0; i < engine->stops.nr_watches; i++) {
        const Stop *watch = &engine->stops.watches[i];
        bool touches = watch->address - va < length || va - watch->address < watch->length;
        if (touches && watch->kind & (store ? STOP_AT_WRITE : STOP_AT_READ)) {
            engine->stops.touched = watch->address;
            return WATCHED_BY_DEBUGGER;
        }
    }
    return 0;
}

/* ---- no breakpoint before the first instruction ---- */

bool debug_stops_at(const Interposed *engine, uint64_t pc)
{
    return is_among(engine->stops.breakpoints, engine->stops.nr_breakpoints, pc);
}

void debug_translate(Interposed *engine, void *cpu, const TranslatedBlock *block)
{
    Stops *ours = &engine->stops;
    if (ours->nr_breakpoints)
        *first_of(cpu) = block->flags & RFLAGS_RF ? ours->breakpoints[ours->nr_breakpoints - 1].next
                                                  : &ours->breakpoints[0];
}

/* ---- a step over an instruction that moves flags ---- */

/* The opcode of a pushf or popf at rip, with the bytes that it moves above it; 0 for any other instruction. */
uint32_t debug_moves_flags(Interposed *engine, CPUX86State *env)
{
    uint32_t size = 8;
    for (unsigned i = 0; i < 4; i++) {
        const uint8_t *code = interposed_walk(engine, env, env->segs[SREG_CS].base + env->eip + i);
        if (code == NULL)
            return 0;
        if (*code == 0x66)
            size = 2;
        else if ((*code & 0xf0) != 0x40)
            return *code == PUSHF || *code == POPF ? size << 8 | *code : 0;
    }
    return 0;
}

static uint8_t *stack_byte(Interposed *engine, CPUX86State *env, int64_t at)
{
    return interposed_walk(engine, env, env->segs[SREG_SS].base + env->regs[REG_RSP] + at);
}

void debug_moved_flags(Interposed *engine, CPUX86State *env, uint32_t moved, uint64_t hidden)
{
    uint8_t *byte;
    if ((moved & 0xff) == PUSHF)
        for (unsigned i = 1; i < 3; i++) {
            if ((byte = stack_byte(engine, env, i)) != NULL)
                *byte &= ~(hidden >> 8 * i);
        }
    else if ((byte = stack_byte(engine, env, 1 - (int64_t)(moved >> 8))) != NULL && *byte & RFLAGS_TF >> 8)
        env->eflags |= RFLAGS_TF;
}
