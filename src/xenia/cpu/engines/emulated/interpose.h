/* Our functions in the place of Unicorn's: see interpose.c. */
#ifndef XENIA_INTERPOSE_H
#define XENIA_INTERPOSE_H

#include "unicorn_x86.h"

#define PTE_P 1ull
#define PTE_W 2ull
#define PTE_U 4ull
#define PTE_A 0x20ull
#define PTE_D 0x40ull
#define PTE_PS 0x80ull
#define PTE_NX (1ull << 63)
#define PTE_FRAME 0x000ffffffffff000ull

#define UPPER_HALF 0xffff800000000000ull
#define HYPERVISOR_VIRT_END 0xffff880000000000ull

typedef struct Jumps Jumps; /* see jumps.c */
typedef struct Links Links; /* see links.c */

/* Where a debugger wants the guest to stop, as cpu/processor.pxd has it: see debug.c. */
#define MAX_STOPS 128
enum { STOP_AT_CODE, STOP_AT_WRITE, STOP_AT_READ };
typedef struct {
    uint64_t address;
    uint64_t length;
    int kind;
} Stop;
typedef struct {
    Breakpoint breakpoints[MAX_STOPS]; /* in QEMU's list, before those of the guest's debug registers */
    Stop watches[MAX_STOPS];
    unsigned nr_breakpoints, nr_watches;
    uint64_t touched; /* the address of the one that was last */
} Stops;
#define WATCHED_BY_DEBUGGER 0x100u /* beside dr6's bits */

/* What the interposed functions need of the engine that runs on this thread. */
typedef struct {
    uint8_t *machine_memory;
    uint64_t machine_bytes;
    void (*on_syscall)(void *engine, int kind_is_sysenter, int length);
    void (*on_cpuid)(void *engine);
    void *engine;
    uint8_t *code_frames; /* a bit for each machine frame: translations from it exist */
    uint64_t noncanonical; /* the address that the #GP being raised is for; 0 where it is for another reason */
    uint32_t watch_hits; /* data watchpoints (dr6 bits) that the last instruction touched */
    bool watch_armed;    /* the next block is that one instruction */
    Stops stops;
    uint64_t tlb_fills;
    bool user_root;      /* the root is user mode's own, which reaches all of it; else no more than its lower half */
    Jumps *jumps;
    Links *links;
    bool visits;           /* user code goes elsewhere as soon as it leaves the page `visited` */
    bool returns;          /* it has */
    uint64_t visited;
    uintptr_t (*prologue)(CPUX86State *env, void *code); /* QEMU's, that runs translated code */
    uint64_t fixed;        /* a block there cannot be relative; see relative.c */
    uint32_t cflags;       /* of relative blocks */
    TranslatedBlock places[256]; /* where some of these run */
    bool placed;           /* there are any */
    uint64_t blocks;       /* translated */
    /* --- where several processors run over the same memory */
    bool shared;
    unsigned pauses;       /* instructions so called: the guest waits for another processor */
    uint8_t *watched;      /* of all of them: a bit for each frame that any of them may have translations from */
    uint64_t storing[2];   /* frames, + 1, with code of others, that it is in the middle of a store to */
    uint64_t unannounced;  /* a frame, + 1, that is about to be translated from and that the others do not watch yet */
    void (*on_translated)(void *engine, uint64_t frame);   /* the first translation from it; NULL nobody asks */
    void (*on_forgotten)(void *engine, uint64_t frame);    /* what was known of it, for it is written to; the same */
    void (*on_code_written)(void *engine, uint64_t maddr); /* the others are to forget what is in that frame */
    void (*alone)(void *engine, bool begin);               /* none of the others runs between the two */
} Interposed;

static inline bool is_code(const Interposed *engine, uint64_t frame)
{
    uint8_t bits = engine->code_frames[frame >> 3];
    if (engine->shared)
        bits |= __atomic_load_n(&engine->watched[frame >> 3], __ATOMIC_RELAXED);
    return bits >> (frame & 7) & 1;
}

static inline uint64_t *entry_at(Interposed *engine, uint64_t table, unsigned index)
{
    uint64_t maddr = (table & PTE_FRAME) + 8 * index;
    return maddr < engine->machine_bytes ? (uint64_t *)(engine->machine_memory + maddr) : NULL;
}

/* May user mode use what the page tables map at `va`?  The user bit says so of the hypervisor's own slots alone. */
static inline bool user_reaches(const Interposed *engine, uint64_t va, uint64_t rights)
{
    if (va < UPPER_HALF)
        return true;
    return va < HYPERVISOR_VIRT_END ? rights & PTE_U : engine->user_root;
}

static inline int mode_of(const CPUX86State *env)
{
    return (env->hflags & HF_CPL) == 3 ? MMU_USER_IDX : MMU_KERNEL_IDX;
}

/* Where a translation for `va` is, if there is one; and in the current mode. */
static inline TlbEntry *tlb_at(void *cpu, int mode, uint64_t va)
{
    TlbTable *table = TLB_TABLE(cpu, mode);
    return &table->entries[(va >> 12) & (table->mask >> 6)];
}

static inline TlbEntry *tlb_entry(CPUX86State *env, uint64_t va)
{
    return tlb_at((uint8_t *)env - CPU_ENV, mode_of(env), va);
}

/* Is this address of an entry the page of `va`, whatever its flags? */
static inline bool leads_to(uint64_t address, uint64_t va)
{
    return (address & ~(0xfffull & ~TLB_INVALID_BIT)) == (va & ~0xfffull);
}

enum { ACCESS_LOAD, ACCESS_STORE, ACCESS_FETCH };
enum { WATCH_READ = 1, WATCH_WRITE = 2 };
#define MODE(oi) ((oi) & 15) /* of what translated code gives its helpers */

/* Exchange the entry for `va` with the one that it was displaced by. */
bool interposed_bring_back(void *cpu, int mode, TlbEntry *entry, uint64_t va, int access);
bool __wrap_x86_cpu_tlb_fill_x86_64(void *cpu, uint64_t va, int size, int access, int mmu_idx, bool probe,
                                    uintptr_t retaddr);
void __wrap_cpu_check_watchpoint_x86_64(void *cpu, uint64_t va, uint64_t length, uint32_t attributes, int access,
                                        uintptr_t retaddr);

#define THREAD_LOCAL __attribute__((tls_model("initial-exec"), visibility("hidden"))) __thread
extern THREAD_LOCAL Interposed *interposed_current;

/* Before this thread calls into that engine's Unicorn.  Answers whose it was: who runs one goes back to it. */
Interposed *interposed_enter(Interposed *engine);

/* NULL without memory; to be freed with free(). */
Jumps *jumps_new(void);
void jumps_visit(Interposed *engine, uint64_t va);
Links *links_new(uint64_t nr_frames);

/* What the engine tells of page tables; a change counts from the next flush on. */
void links_pte_changed(Interposed *engine, CPUX86State *env, uint64_t table, unsigned index, uint64_t old,
                       uint64_t new);
void links_root_changed(Interposed *engine, uint64_t old, uint64_t new);
void links_flush(Interposed *engine);
uint64_t links_made(const Links *links);

void links_forget(Interposed *engine); /* all blocks are gone */

/* While a block is translated: before it; a jump to be patched; what the exit below such a jump is to name, or true
 * where there is none. */
void links_translate(TranslatedBlock *block);
bool links_exit(TcgContext *tcg, const void **block, unsigned *index);
void stops_translate(TranslatedBlock *block);
void stops_jump(uint64_t target);

static inline TcgOp *tcg_op_before(const TcgOp *op) { return (TcgOp *)((uint8_t *)op->prev - offsetof(TcgOp, next)); }

static inline TcgOp *tcg_last_op(TcgContext *tcg)
{
    return (TcgOp *)(FIELD(tcg, TCG_CONTEXT_LAST_OP, uint8_t *) - offsetof(TcgOp, next));
}

/* Where the jump goes that ends the block here; 0 where that is known only when it runs. */
uint64_t tcg_constant_target(TcgContext *tcg);

/* Blocks that run wherever their page is mapped: see relative.c.  Theirs are addresses from RELATIVE on. */
#define RELATIVE 0x4a5c3e0000000000ull
static inline bool is_relative(const TranslatedBlock *block) { return block->pc - RELATIVE < 4096; }

/* Where code that is being translated is. */
static inline uint64_t code_address(const CPUX86State *env, uint64_t va)
{
    return va - RELATIVE < 2 * 4096 && env->eip >> 47 == 0 ? va - RELATIVE + (env->eip & ~0xfffull) : va;
}

/* Before a new processor runs. */
void relative_begin(Interposed *engine, uc_engine *uc);
/* The block for rip, where there is one that runs wherever its page is; the flags are what it depends on. */
TranslatedBlock *relative_find(Interposed *engine, CPUX86State *env, uint32_t flags);
/* A relative block is gone, or all are. */
void relative_forget(Interposed *engine);
/* Before the block is translated; eight bytes of code that are a number; afterwards. */
void relative_translate(TcgContext *tcg, const TranslatedBlock *block);
void relative_number(CPUX86State *env, uint64_t value);
void relative_finish(CPUX86State *env, TcgContext *tcg, const TranslatedBlock *block);

/* Before the instruction at `pc` is translated. */
void bases_translate(CPUX86State *env, TcgContext *tcg, uint64_t pc);

/* CS, SS and the ring; the ring alone, where both are loaded. */
void segments_enter(Interposed *engine, CPUX86State *env, unsigned cs, unsigned ss, bool kernel);
void segments_ring(CPUX86State *env, bool kernel);

/* Code and several processors: see code.c.  Before bytes are translated, which may begin the block anew; after bytes
 * were written the slow way; a store to watched code, before it is made; from now on stores to that frame are told. */
void code_read(Interposed *engine, CPUX86State *env, uint64_t va, unsigned size);
void code_written(Interposed *engine, CPUX86State *env, uint64_t va, unsigned size, int mode);
void code_store(void *cpu, TlbEntry *entry, uint64_t va, unsigned size, uintptr_t retaddr);
void code_watch(void *cpu, uint64_t maddr);
void code_watch_all(Interposed *engine, void *cpu);

/* A debugger's: all places, from now on; whether it watches `va`, as WATCHED_BY_DEBUGGER, or has a
 * breakpoint at `pc`; before a block is translated. */
void debug_set_stops(Interposed *engine, void *cpu, const void *stops, unsigned nr);
uint32_t debug_watched(Interposed *engine, uint64_t va, uint64_t length, bool store);
bool debug_stops_at(const Interposed *engine, uint64_t pc);
void debug_translate(Interposed *engine, void *cpu, const TranslatedBlock *block);
/* Does the instruction at rip push flags, or pop them?  After it: what it pushed has none that were hidden, and a trap
 * flag that it popped is the guest's. */
enum { PUSHF = 0x9c, POPF = 0x9d };
uint32_t debug_moves_flags(Interposed *engine, CPUX86State *env);
void debug_moved_flags(Interposed *engine, CPUX86State *env, uint32_t moved, uint64_t hidden);

/* From and to the 512 bytes of fxsave64. */
void fpu_save(const CPUX86State *env, uint8_t *area);
void fpu_load(CPUX86State *env, const uint8_t *area);

/* Walk the page tables at CR3 for a supervisor read of the hypervisor's or the guest's memory; NULL where unmapped. */
uint8_t *interposed_walk(Interposed *current, CPUX86State *env, uint64_t va);

typedef struct {
    uint64_t va, maddr;
    char difference[40];
    bool writable;
} StaleTranslation;

/* The TLB's entries that the page tables do not give: how many, `room` at most. */
unsigned translations_stale(Interposed *engine, void *cpu, StaleTranslation *found, unsigned room);

/* What of a processor just made is not where unicorn_x86.h says; NULL nothing.  Afterwards it has to be reset. */
const char *layout_fault(uc_engine *uc);

#endif
