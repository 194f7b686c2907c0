/*
 * Where translated code goes on after an indirect jump, a call, a return: the address it has for each guest address.
 *
 * QEMU's own cache (`tb_jmp_cache`) holds pointers to blocks, so that each jump misses the host's caches twice, once
 * for the pointer and once for the block that it compares with; blocks of one page share few places in it; and all of
 * it is forgotten when the TLB is flushed, which a guest kernel asks for at each context switch.  This one holds what
 * is compared beside what is wanted, and a flush is a new generation: an entry of an older one is good again once its
 * page turns out to be where it was.
 *
 *   helper_lookup_tb_ptr      looks here first, and whether to stop (see stops.c); and who only visits a page, for what
 *                             else runs user code (emulator.pxd), whether it has left that
 *   tlb_flush                 a new generation
 *   tb_flush_jmp_cache        the page is no longer mapped, or elsewhere: a new generation, if any jump goes to a block
 *                             that begins there or on the page before
 *   qht_remove                the block is gone: forget it; a relative one (relative.c) by a new generation, in which
 *                             nothing of user code's is good again.  Every block that is dropped alone is taken from that
 *                             table.
 *   tcg_region_reset_all      all blocks are gone
 */
#include "interpose.h"

typedef struct {
    uint64_t pc;
    uint64_t kind;  /* flags and generation; 0 for none */
    void *code;
    uint64_t maddr; /* of the page; 1 for a block that lies on two */
} Jump;

#define WAYS 2 /* the newer one first; together a line of the host's cache */
#define BUCKETS 4096
#define MARKS 8192

struct Jumps {
    Jump buckets[BUCKETS][WAYS];
    uint64_t generation;        /* in the upper half of `kind` */
    uint64_t relative_since;    /* the one in which a relative block was dropped last; what is of before may be it */
    bool marked;                /* is there any jump of this generation? */
    uint64_t marks[MARKS / 64]; /* a bit for each page that they go to; of some pages, the same */
};
#define GENERATION (1ull << 32)

extern uint64_t get_page_addr_code_x86_64(CPUX86State *env, uint64_t va);
extern void *__real_helper_lookup_tb_ptr_x86_64(CPUX86State *env);
extern void __real_tlb_flush_x86_64(void *cpu);
extern void __real_tb_flush_jmp_cache_x86_64(void *cpu, uint64_t va);
extern bool __real_qht_remove(void *table, const TranslatedBlock *block, uint32_t hash);
extern void __real_tcg_region_reset_all_x86_64(void *tcg);

static void forget_all(Jumps *jumps)
{
    memset(jumps, 0, sizeof *jumps);
    jumps->generation = GENERATION;
}

Jumps *jumps_new(void)
{
    Jumps *jumps = aligned_alloc(64, sizeof(Jumps));
    if (jumps != NULL)
        forget_all(jumps);
    return jumps;
}

static inline Jump *bucket_of(Jumps *jumps, uint64_t pc) { return jumps->buckets[(pc ^ pc >> 12) % BUCKETS]; }

static inline unsigned mark_of(uint64_t va) { return (va >> 12 ^ va >> 25) % MARKS; }

static inline bool is_marked(const Jumps *jumps, uint64_t va)
{
    return jumps->marks[mark_of(va) / 64] >> mark_of(va) % 64 & 1;
}

static inline void mark(Jumps *jumps, uint64_t va)
{
    jumps->marked = true;
    jumps->marks[mark_of(va) / 64] |= 1ull << mark_of(va) % 64;
}

static void next_generation(Jumps *jumps)
{
    jumps->generation += GENERATION;
    jumps->marked = false;
    if (jumps->generation == 0)
        forget_all(jumps);
    else
        memset(jumps->marks, 0, sizeof jumps->marks);
}

/* Is the page of `jump`, where code is to be run now, mapped where it was? */
static inline bool is_current(CPUX86State *env, const Jumps *jumps, const Jump *jump)
{
    const TlbEntry *entry = tlb_entry(env, jump->pc);
    if (jump->pc >> 47 == 0 && jump->kind < jumps->relative_since)
        return false;
    if (!leads_to(entry->addr_code, jump->pc))
        get_page_addr_code_x86_64(env, jump->pc); /* or a page fault */
    return leads_to(entry->addr_code, jump->pc) && entry->paddr == jump->maddr;
}

/* To the loop that runs blocks, which sees who wants it to stop. */
static void *leave(CPUX86State *env)
{
    void *uc = FIELD(env, CPU_UC - CPU_ENV, void *);
    return FIELD(FIELD(uc, UC_TCG_CONTEXT, TcgContext *), TCG_CONTEXT_EPILOGUE, void *);
}

void jumps_visit(Interposed *engine, uint64_t va)
{
    engine->visits = true;
    engine->visited = va & ~0xfffull;
    next_generation(engine->jumps); /* so that each jump comes by look_up */
}

static void *end_visit(CPUX86State *env)
{
    interposed_current->visits = false;
    interposed_current->returns = true;
    STOP_TRANSLATED((uint8_t *)env - CPU_ENV);
    return leave(env);
}

static __attribute__((noinline)) void *look_up(CPUX86State *env, Jumps *jumps, Jump *bucket, uint64_t kind)
{
    void *cpu = (uint8_t *)env - CPU_ENV;
    uint64_t pc = env->eip;
    if (interposed_current->visits && (pc & ~0xfffull) != interposed_current->visited)
        return end_visit(env);
    for (int way = 0; way < WAYS; way++) {
        Jump *jump = &bucket[way];
        if (jump->pc == pc && (uint32_t)jump->kind == (uint32_t)kind && is_current(env, jumps, jump)) {
            jump->kind = kind;
            mark(jumps, pc);
            return jump->code;
        }
    }
    TranslatedBlock *block = relative_find(interposed_current, env, (uint32_t)kind);
    if (block == NULL) {
        void *code = __real_helper_lookup_tb_ptr_x86_64(env);
        block = FIELD(cpu, CPU_TB_JMP_CACHE + 8 * TB_JMP_CACHE_INDEX(pc), TranslatedBlock *);
        if (block == NULL || block->code != code || block->pc != pc || block->cs_base != 0)
            return code;
    }
    bucket[1] = bucket[0];
    bucket[0] = (Jump){pc, kind, block->code, block->page_addr[1] == UINT64_MAX ? block->page_addr[0] : 1};
    mark(jumps, pc);
    return block->code;
}

void *__wrap_helper_lookup_tb_ptr_x86_64(CPUX86State *env)
{
    Jumps *jumps = FIELD(env, CPU_OPAQUE - CPU_ENV, Jumps *);
    uint64_t pc = env->eip;
    uint64_t kind = env->hflags | (env->eflags & TB_RFLAGS) | jumps->generation;
    Jump *bucket = bucket_of(jumps, pc);
    env->code_page = pc & ~0xfffull;
    if (__builtin_expect(FIELD(env, ENV_ICOUNT_DECR, int32_t) < 0, false))
        return leave(env);
    if (__builtin_expect(env->segs[SREG_CS].base == 0, true)) {
        if (__builtin_expect(bucket[0].pc == pc && bucket[0].kind == kind, true))
            return bucket[0].code;
        if (bucket[1].pc == pc && bucket[1].kind == kind)
            return bucket[1].code;
        return look_up(env, jumps, bucket, kind);
    }
    return __real_helper_lookup_tb_ptr_x86_64(env);
}

void __wrap_tlb_flush_x86_64(void *cpu)
{
    Jumps *jumps = FIELD(cpu, CPU_OPAQUE, Jumps *);
    __real_tlb_flush_x86_64(cpu);
    if (jumps != NULL)
        next_generation(jumps);
}

void __wrap_tb_flush_jmp_cache_x86_64(void *cpu, uint64_t va)
{
    Jumps *jumps = FIELD(cpu, CPU_OPAQUE, Jumps *);
    __real_tb_flush_jmp_cache_x86_64(cpu, va);
    if (jumps != NULL && (is_marked(jumps, va) || is_marked(jumps, va - 4096)))
        next_generation(jumps);
}

bool __wrap_qht_remove(void *table, const TranslatedBlock *block, uint32_t hash)
{
    Jumps *jumps = interposed_current->jumps;
    Jump *bucket = bucket_of(jumps, block->pc);
    if (is_relative(block)) { /* its jumps are wherever its page was */
        if (jumps->marked || jumps->relative_since != jumps->generation)
            next_generation(jumps);
        jumps->relative_since = jumps->generation;
        relative_forget(interposed_current);
    }
    for (int way = 0; way < WAYS; way++)
        if (bucket[way].code == block->code)
            bucket[way] = (Jump){0};
    return __real_qht_remove(table, block, hash);
}

void __wrap_tcg_region_reset_all_x86_64(void *tcg)
{
    if (interposed_current != NULL) {
        forget_all(interposed_current->jumps);
        links_forget(interposed_current);
        relative_forget(interposed_current);
    }
    __real_tcg_region_reset_all_x86_64(tcg);
}
