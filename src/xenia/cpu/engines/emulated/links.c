/*
 * Jumps and calls of a guest kernel to a known address on another page: from block to block, without looking anything
 * up.
 *
 * QEMU patches such a jump only within a page, because what another page is mapped to may change under it.  Here mm/ is
 * the only writer of page tables and reports each change.  So blocks of the kernel (ring 1, the upper half of the
 * address space) are linked across pages too.  The page tables that lead to a block that was linked to are watched: its
 * slot in the L4, and the frames of the lower ones.  Once an entry there no longer leads to the same executable frame,
 * the next flush takes all these links away, as the processor's own translations go then; so does the coming of an L4
 * that differs in such a slot.
 *
 * Relative blocks (relative.c) are linked within their page, for good, and to relative blocks alone: others are of one
 * address.  Where a block of user code that lies on two pages jumps to the second, that is looked up.
 *
 *   tcg_gen_lookup_and_goto_ptr   where the address is a constant, a jump to be patched, and below it
 *   helper_bndldx64               the call that finds where it goes and patches it.  It is the name of a helper that QEMU
 *                                 knows and that no guest can reach, because no processor here has MPX.
 *   tcg_gen_goto_tb, exit_tb      jumps within the page: the same, so that they need not leave to the loop that runs
 *                                 blocks, nor each time where the block that they go to lies on two pages.  A block has
 *                                 two jumps that can be patched: these keep count.
 */
#include "interpose.h"

#define INDEX_OP_MOVI_I32 6
#define INDEX_OP_GOTO_PTR 0x84
#define ENV_EIP offsetof(CPUX86State, eip)

#define PTE_MOVED (PTE_FRAME | PTE_P | PTE_NX) /* what decides whether code runs there, and which */
#define UPPER_SLOTS 256
#define MOST_LINKS 65536

struct Links {
    uint8_t *tables;                  /* a bit for each machine frame: a table that leads to a linked block */
    uint64_t slots[UPPER_SLOTS / 64]; /* the same for the L4's entries from 256 on */
    bool stale;                       /* one of these has changed */
    uint64_t made;
    unsigned count;
    uintptr_t sites[MOST_LINKS]; /* the block that jumps, and which of its jumps */
};

extern void __real_tcg_gen_lookup_and_goto_ptr_x86_64(TcgContext *tcg);
extern void __real_tcg_gen_goto_tb_x86_64(TcgContext *tcg, unsigned index);
extern void *__real_helper_lookup_tb_ptr_x86_64(CPUX86State *env);
extern uint64_t helper_bndldx64_x86_64(CPUX86State *env, uint64_t site, uint64_t unused);
extern void tcg_gen_callN_x86_64(TcgContext *tcg, void *function, TcgTemp *result, int count, TcgTemp **args);
extern void tcg_gen_op1_x86_64(TcgContext *tcg, int opcode, TcgArg a);
extern TcgTemp *tcg_temp_new_internal_x86_64(TcgContext *tcg, int type, bool local);
extern void tcg_temp_free_internal_x86_64(TcgContext *tcg, TcgTemp *temp);
extern uintptr_t tcg_const_i64_x86_64(TcgContext *tcg, int64_t value);
extern void tb_set_jmp_target_x86_64(TranslatedBlock *block, int index, uintptr_t target);

Links *links_new(uint64_t nr_frames)
{
    Links *links = calloc(1, sizeof(Links) + nr_frames / 8 + 1);
    if (links != NULL)
        links->tables = (uint8_t *)(links + 1);
    return links;
}

/* ---- links ---- */

static inline TranslatedBlock *block_of(uintptr_t site) { return (TranslatedBlock *)(site & ~(uintptr_t)3); }

static void take_away(uintptr_t site)
{
    TranslatedBlock *block = block_of(site), *target;
    unsigned index = site & 3;
    uintptr_t *link;
    if (block->jmp_dest[index] == 0 || block->jmp_dest[index] & 1) /* taken away already; never to be linked again */
        return;
    target = (TranslatedBlock *)block->jmp_dest[index];
    for (link = &target->jmp_list_head; *link != site; link = &block_of(*link)->jmp_list_next[*link & 3])
        ;
    *link = block->jmp_list_next[index];
    block->jmp_dest[index] = 0;
    tb_set_jmp_target_x86_64(block, index, (uintptr_t)block->code + block->jmp_reset_offset[index]);
}

static void take_all_away(Interposed *engine)
{
    Links *links = engine->links;
    links->stale = false; /* first: what another thread reports from here on counts for the links to come */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    while (links->count)
        take_away(links->sites[--links->count]);
    memset(links->tables, 0, (engine->machine_bytes >> 15) + 1);
    memset(links->slots, 0, sizeof links->slots);
}

/* Watch the page tables that lead from `va` to the code in that frame.  False where they do not: the TLB, which said
 * so, may be behind them until the next flush.  Who changes an entry looks afterwards whether it is watched; so it is
 * watched before it is read. */
static bool watch(Interposed *engine, CPUX86State *env, uint64_t va, uint64_t maddr)
{
    uint64_t table = env->cr[3] & PTE_FRAME;
    unsigned slot = (va >> 39 & 511) - UPPER_SLOTS;
    for (int level = 3; level >= 0; level--) {
        uint64_t *entry = entry_at(engine, table, va >> (12 + 9 * level) & 511), pte;
        if (entry == NULL)
            return false;
        if (level != 3)
            engine->links->tables[table >> 15] |= 1 << (table >> 12 & 7);
        else
            engine->links->slots[slot / 64] |= 1ull << slot % 64;
        if (engine->shared)
            __atomic_thread_fence(__ATOMIC_SEQ_CST);
        pte = __atomic_load_n(entry, __ATOMIC_RELAXED);
        if (!(pte & PTE_P) || pte & PTE_NX || (level == 1 && pte & PTE_PS))
            return false;
        table = pte & PTE_FRAME;
    }
    return table == maddr;
}

static void link_to(Interposed *engine, CPUX86State *env, uintptr_t site, TranslatedBlock *target)
{
    TranslatedBlock *block = block_of(site);
    unsigned index = site & 3;
    bool one_page = target->page_addr[1] == UINT64_MAX, same_page = one_page && (target->pc ^ block->pc) < 4096;
    if (block->jmp_dest[index] != 0 || (block->cflags | target->cflags) & CF_INVALID)
        return;
    if (is_relative(block) && !(is_relative(target) && one_page && target->page_addr[0] == block->page_addr[0]))
        return;
    if (!same_page) {
        if (engine->links->count == MOST_LINKS)
            take_all_away(engine);
        if (!watch(engine, env, target->pc, target->page_addr[0]) ||
            (!one_page && !watch(engine, env, target->pc + 4096, target->page_addr[1])))
            return;
        engine->links->sites[engine->links->count++] = site;
        engine->links->made++;
    }
    block->jmp_dest[index] = (uintptr_t)target;
    block->jmp_list_next[index] = target->jmp_list_head;
    target->jmp_list_head = site;
    tb_set_jmp_target_x86_64(block, index, (uintptr_t)target->code);
}

/* A jump that is not linked yet, or no longer: link it, and say where it goes. */
uint64_t __wrap_helper_bndldx64_x86_64(CPUX86State *env, uint64_t site, uint64_t unused)
{
    if (is_relative(block_of(site))) {
        TranslatedBlock *there = relative_find(interposed_current, env, env->hflags | (env->eflags & TB_RFLAGS));
        if (there != NULL) {
            link_to(interposed_current, env, site, there);
            return (uint64_t)there->code;
        }
    }
    void *code = __real_helper_lookup_tb_ptr_x86_64(env);
    uint64_t pc = env->eip;
    TranslatedBlock *target = FIELD(env, CPU_TB_JMP_CACHE - CPU_ENV + 8 * TB_JMP_CACHE_INDEX(pc), TranslatedBlock *);
    (void)unused;
    if (target != NULL && target->code == code && target->pc == pc)
        link_to(interposed_current, env, site, target);
    return (uint64_t)code;
}

/* ---- what mm/ reports ---- */

void links_pte_changed(Interposed *engine, CPUX86State *env, uint64_t table, unsigned index, uint64_t old, uint64_t new)
{
    Links *links = engine->links;
    if (!(old & PTE_P) || old & PTE_NX || !((old ^ new) & PTE_MOVED))
        return;
    if (engine->shared)
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (links->tables[table >> 3] >> (table & 7) & 1)
        links->stale = true;
    /* Which L4 a processor uses is known to its own thread alone. */
    if ((engine->shared || table == env->cr[3] >> 12) && index >= UPPER_SLOTS &&
        links->slots[(index - UPPER_SLOTS) / 64] >> (index - UPPER_SLOTS) % 64 & 1)
        links->stale = true;
}

void links_root_changed(Interposed *engine, uint64_t old, uint64_t new)
{
    for (int word = 0; word < UPPER_SLOTS / 64; word++)
        for (uint64_t left = engine->links->slots[word]; left; left &= left - 1) {
            unsigned slot = UPPER_SLOTS + 64 * word + __builtin_ctzll(left);
            if ((*entry_at(engine, old, slot) ^ *entry_at(engine, new, slot)) & PTE_MOVED)
                engine->links->stale = true;
        }
}

void links_flush(Interposed *engine)
{
    if (engine->links->stale)
        take_all_away(engine);
}

uint64_t links_made(const Links *links) { return links->made; }

void links_forget(Interposed *engine)
{
    engine->links->count = 0;
    take_all_away(engine);
}

/* ---- translation ---- */

static __thread TranslatedBlock *translated; /* the block that is being translated */
static __thread unsigned taken;              /* of its two jumps that can be patched, a bit each */
static __thread bool renamed;                /* the next exit is of the other one than it says */

void links_translate(TranslatedBlock *block)
{
    translated = block;
    taken = 0;
    renamed = false;
}

uint64_t tcg_constant_target(TcgContext *tcg)
{
    TcgOp *op = tcg_last_op(tcg);
    if (op->opcode == INDEX_OP_MOVI_I32) /* the condition codes */
        op = tcg_op_before(op);
    if (op->opcode != INDEX_OP_ST_I64 || op->args[1] != (TcgArg)TCG_CPU_ENV(tcg) || op->args[2] != ENV_EIP)
        return 0;
    TcgOp *value = tcg_op_before(op);
    return value->opcode == INDEX_OP_MOVI_I64 && value->args[0] == op->args[0] ? value->args[1] : 0;
}

static bool is_kernel(uint64_t va) { return va >> 47 == 0x1ffff; }

/* May the block that is being translated be linked to one at `target`, wherever it lies, by us? */
static bool may_link(uint64_t target)
{
    const uint32_t what = HF_CPL | HF_CS64 | HF_TF;
    if (is_relative(translated))
        return (target ^ translated->pc) < 4096;
    return is_kernel(target) && is_kernel(translated->pc) && (translated->flags & what) == (1 | HF_CS64) &&
           translated->cs_base == 0 && !(translated->cflags & (CF_COUNT_MASK | CF_NOCACHE));
}

/* Below a jump that can be patched: what is done while it is not. */
static void find_and_link(TcgContext *tcg, unsigned index)
{
    TcgTemp *code = tcg_temp_new_internal_x86_64(tcg, TCG_TYPE_I64, false);
    TcgTemp *site = (uint8_t *)tcg + tcg_const_i64_x86_64(tcg, (int64_t)((uintptr_t)translated | index));
    TcgTemp *unused = (uint8_t *)tcg + tcg_const_i64_x86_64(tcg, 0);
    tcg_gen_callN_x86_64(tcg, helper_bndldx64_x86_64, code, 3, (TcgTemp *[]){TCG_CPU_ENV(tcg), site, unused});
    tcg_gen_op1_x86_64(tcg, INDEX_OP_GOTO_PTR, (TcgArg)code);
    tcg_temp_free_internal_x86_64(tcg, unused);
    tcg_temp_free_internal_x86_64(tcg, site);
    tcg_temp_free_internal_x86_64(tcg, code);
}

void __wrap_tcg_gen_lookup_and_goto_ptr_x86_64(TcgContext *tcg)
{
    uint64_t target = tcg_constant_target(tcg);
    if (!may_link(target) || taken == 3) {
        __real_tcg_gen_lookup_and_goto_ptr_x86_64(tcg);
        return;
    }
    unsigned index = taken & 1;
    taken |= 1 << index;
    stops_jump(target);
    __real_tcg_gen_goto_tb_x86_64(tcg, index);
    find_and_link(tcg, index);
}

/* Does a block of user code, which QEMU would link, end with a jump to where relative blocks are on another page? */
static bool leaves_its_page(uint64_t target)
{
    const uint32_t user = HF_CPL | HF_CS64;
    return (translated->flags & user) == user && (target ^ translated->pc) >= 4096;
}

/* A block of one instruction only, made for a watchpoint, ends in the loop that runs blocks. */
static bool is_alone(void) { return translated->cflags & CF_COUNT_MASK; }

void __wrap_tcg_gen_goto_tb_x86_64(TcgContext *tcg, unsigned index)
{
    renamed = taken >> index & 1;
    taken |= 1 << (index ^ renamed);
    if (!is_alone())
        __real_tcg_gen_goto_tb_x86_64(tcg, index ^ renamed);
}

bool links_exit(TcgContext *tcg, const void **block, unsigned *index)
{
    uint64_t target = tcg_constant_target(tcg);
    *index ^= renamed;
    renamed = false;
    stops_jump(target);
    if (is_alone()) {
        *block = NULL, *index = 0;
    } else if (may_link(target)) {
        find_and_link(tcg, *index);
        return true;
    } else if (leaves_its_page(target)) {
        __real_tcg_gen_lookup_and_goto_ptr_x86_64(tcg);
        return true;
    }
    return false;
}
