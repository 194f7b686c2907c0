/*
 * Translated code that is written to, by this processor or by another one over the same memory.
 *
 * A frame that holds translated code must be watched through every address it is mapped at, and no other frame need
 * be.  Unicorn watches each address until its first write, and again whenever it translates anything at that address.
 *
 *   tlb_protect_code              the first translation from a frame: watch it
 *   tb_invalidate_phys_page_fast  a store to a frame that is watched
 *   tlb_reset_dirty_by_vaddr      nothing
 *
 * With several processors each has translations of its own, and a bit for each frame that it has any of (code_frames).
 * A store that a processor makes there at full speed, without looking, must not be missed by another one that has
 * translated what was there.  So before a processor reads the first byte of code from a frame it announces that: it
 * leaves the block that it was about to translate (`unannounced`), and where the frame is not watched already
 * (`watched`, one bitmap for all) it asks all others to watch it, and waits for that.  Then it begins the block anew.
 *
 * A store to a watched frame is slow.  It tells those that have code there to forget it, once before it stops watching
 * and once after it has stored, and then the frame is as any other to the processor that stored.  Why both:
 *
 *   after     what is forgotten before the store might be translated again before it
 *   before    once the bit in `watched` is gone a third processor may store at full speed, and is not to be missed
 *
 * A processor forgets with its own bit, and so has to announce again.  It sets its bit before it looks at `watched`;
 * who stores clears `watched` before it looks at the bit: if the one takes the frame for watched, the other tells it.
 *
 * Nobody waits for what is to be forgotten: see cpu/processor.pyx.  But where another processor runs code elsewhere
 * (emulator.pxd), and has to know of a store before it is made, it is told first, directly (`frame_lent`); and it does
 * not take up code from a frame that somebody is in the middle of a store to (`storing`).
 */
#include "interpose.h"

extern void __real_tb_invalidate_phys_page_fast_x86_64(uc_engine *uc, void *pages, uint64_t start, int length,
                                                       uintptr_t retaddr);
extern void tb_invalidate_phys_page_range_x86_64(uc_engine *uc, uint64_t start, uint64_t end);
extern uint32_t __real_cpu_ldub_code_x86_64(CPUX86State *env, uint64_t va);
void __wrap_tb_invalidate_phys_page_fast_x86_64(uc_engine *uc, void *pages, uint64_t start, int length,
                                                uintptr_t retaddr);

static void watch_writes(TlbEntry *entries, uint64_t count, uint64_t maddr)
{
    for (uint64_t i = 0; i < count; i++)
        if (entries[i].paddr == maddr && entries[i].addr_write != UINT64_MAX)
            entries[i].addr_write |= TLB_NOTDIRTY_BIT;
}

void code_watch(void *cpu, uint64_t maddr)
{
    for (int mode = 0; mode < NB_MMU_MODES; mode++) {
        watch_writes(TLB_TABLE(cpu, mode)->entries, TLB_ENTRIES(TLB_TABLE(cpu, mode)), maddr);
        watch_writes(TLB_DESCRIPTOR(cpu, mode)->victims, VICTIM_ENTRIES, maddr);
    }
}

/* The same for each frame that has its bit in code_frames by now. */
static void watch_code(Interposed *engine, TlbEntry *entries, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        if (entries[i].addr_write != UINT64_MAX && is_code(engine, entries[i].paddr >> 12))
            entries[i].addr_write |= TLB_NOTDIRTY_BIT;
}

void code_watch_all(Interposed *engine, void *cpu)
{
    for (int mode = 0; mode < NB_MMU_MODES; mode++) {
        watch_code(engine, TLB_TABLE(cpu, mode)->entries, TLB_ENTRIES(TLB_TABLE(cpu, mode)));
        watch_code(engine, TLB_DESCRIPTOR(cpu, mode)->victims, VICTIM_ENTRIES);
    }
}

/* The first translation from a page: from now on every write to it, at whatever address, must be seen. */
void __wrap_tlb_protect_code_x86_64(uc_engine *uc, uint64_t maddr)
{
    Interposed *engine = interposed_current;
    engine->code_frames[maddr >> 15] |= 1 << (maddr >> 12 & 7);
    if (engine->on_translated)
        engine->on_translated(engine->engine, maddr >> 12);
    code_watch(FIELD(uc, UC_CPU, void *), maddr);
}

/* A watched write.  Unicorn then stops watching the address, so no translation from the page may be left.  The real
 * function comes first: where the write changes the very block that runs, it does not return. */
void __wrap_tb_invalidate_phys_page_fast_x86_64(uc_engine *uc, void *pages, uint64_t start, int length,
                                                uintptr_t retaddr)
{
    Interposed *engine = interposed_current;
    uint8_t bit = 1 << (start >> 12 & 7);
    __real_tb_invalidate_phys_page_fast_x86_64(uc, pages, start, length, retaddr);
    tb_invalidate_phys_page_range_x86_64(uc, start & ~0xfffull, (start & ~0xfffull) + 4096);
    engine->code_frames[start >> 15] &= ~bit;
    if (engine->on_forgotten)
        engine->on_forgotten(engine->engine, start >> 12);
    if (engine->shared) {
        engine->storing[0] = engine->storing[1];
        __atomic_store_n(&engine->storing[1], (start >> 12) + 1, __ATOMIC_SEQ_CST);
        engine->on_code_written(engine->engine, start);
        __atomic_fetch_and(&engine->watched[start >> 15], (uint8_t)~bit, __ATOMIC_SEQ_CST);
    }
}

void __wrap_tlb_reset_dirty_by_vaddr_x86_64(void *cpu, uint64_t start, uint64_t length)
{
    (void)cpu, (void)start, (void)length;
}

/* ---- with others ---- */

void code_store(void *cpu, TlbEntry *entry, uint64_t va, unsigned size, uintptr_t retaddr)
{
    __wrap_tb_invalidate_phys_page_fast_x86_64(FIELD(cpu, CPU_UC, uc_engine *), NULL, entry->paddr | (va & 0xfff),
                                               (int)size, retaddr);
    if (entry->addr_code == UINT64_MAX)
        entry->addr_write &= ~(uint64_t)TLB_NOTDIRTY_BIT;
}

static void written_at(Interposed *engine, void *cpu, uint64_t va, int mode)
{
    TlbEntry *entry = tlb_at(cpu, mode, va);
    if (leads_to(entry->addr_write, va))
        engine->on_code_written(engine->engine, entry->paddr);
}

void code_written(Interposed *engine, CPUX86State *env, uint64_t va, unsigned size, int mode)
{
    void *cpu = (uint8_t *)env - CPU_ENV;
    if (!engine->shared)
        return;
    written_at(engine, cpu, va, mode);
    if (((va + size - 1) ^ va) >> 12)
        written_at(engine, cpu, va + size - 1, mode);
    if (engine->storing[1]) {
        __atomic_store_n(&engine->storing[0], 0, __ATOMIC_SEQ_CST);
        __atomic_store_n(&engine->storing[1], 0, __ATOMIC_SEQ_CST);
    }
}

static inline void announce(Interposed *engine, CPUX86State *env, uint64_t va)
{
    void *cpu = (uint8_t *)env - CPU_ENV;
    TlbEntry *entry = tlb_entry(env, va);
    if (!leads_to(entry->addr_code, va)) {
        __real_cpu_ldub_code_x86_64(env, va);
        entry = tlb_entry(env, va);
        if (!leads_to(entry->addr_code, va))
            return;
    }
    uint64_t frame = entry->paddr >> 12;
    uint32_t kind = FIELD(FIELD(FIELD(cpu, CPU_UC, void *), UC_TCG_CONTEXT, void *), TCG_CONTEXT_CFLAGS, uint32_t);
    if (engine->code_frames[frame >> 3] >> (frame & 7) & 1)
        return;
    engine->unannounced = frame + 1;
    if (kind & CF_COUNT_MASK) /* it was to be a block of so many instructions */
        FIELD(cpu, CPU_CFLAGS_NEXT_TB, uint32_t) = kind;
    STOP_TRANSLATED(cpu);
    cpu_loop_exit_noexc_x86_64(cpu);
}

void code_read(Interposed *engine, CPUX86State *env, uint64_t va, unsigned size)
{
    announce(engine, env, va);
    if (((va + size - 1) ^ va) >> 12)
        announce(engine, env, va + size - 1);
}
