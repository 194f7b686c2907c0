/* The debug mode: what the TLB holds, against a walk of the page tables as they are now. */
#include "interpose.h"

#include <stdio.h>

static bool is_valid(uint64_t address) { return address != UINT64_MAX && !(address & TLB_INVALID_BIT); }

static bool fault(Interposed *engine, const CPUX86State *env, const TlbEntry *entry, int mode, StaleTranslation *found)
{
    const uint64_t addresses[] = {entry->addr_read, entry->addr_write, entry->addr_code};
    uint64_t table = env->cr[3], rights = PTE_W | PTE_U, nx = 0, va = UINT64_MAX;
    char *what = found->difference;
    const size_t room = sizeof found->difference;
    bool writable = is_valid(entry->addr_write);

    for (int kind = 0; kind < 3; kind++)
        if (is_valid(addresses[kind]))
            va = addresses[kind] & ~0xfffull;
    if (va == UINT64_MAX)
        return false;
    *found = (StaleTranslation){va, entry->paddr, "", writable};
    for (int level = 3; level >= 0; level--) {
        const uint64_t *pte = entry_at(engine, table, va >> (12 + 9 * level) & 511);
        if (pte == NULL)
            return snprintf(what, room, "no such table at level %d", level + 1);
        if (!(*pte & PTE_P))
            return snprintf(what, room, "not mapped at level %d", level + 1);
        rights &= *pte;
        nx |= *pte & PTE_NX;
        if (level == 1 && *pte & PTE_PS)
            return false;
        table = *pte;
    }
    if ((table & PTE_FRAME) != (entry->paddr & ~0xfffull))
        return snprintf(what, room, "maps %#llx now", (unsigned long long)(table & PTE_FRAME));
    if (writable && !(rights & PTE_W))
        return snprintf(what, room, "no longer writable");
    if (mode == MMU_USER_IDX && !user_reaches(engine, va, rights))
        return snprintf(what, room, "no longer user's");
    if (entry->addr_code != UINT64_MAX && nx)
        return snprintf(what, room, "no longer executable");
    return false;
}

unsigned translations_stale(Interposed *engine, void *cpu, StaleTranslation *found, unsigned room)
{
    const CPUX86State *env = (CPUX86State *)((uint8_t *)cpu + CPU_ENV);
    unsigned count = 0;
    for (int mode = 0; mode < NB_MMU_MODES; mode++) {
        const TlbTable *table = TLB_TABLE(cpu, mode);
        for (uint64_t i = 0; i < TLB_ENTRIES(table) && count < room; i++)
            count += fault(engine, env, &table->entries[i], mode, &found[count]);
        for (int i = 0; i < VICTIM_ENTRIES && count < room; i++)
            count += fault(engine, env, &TLB_DESCRIPTOR(cpu, mode)->victims[i], mode, &found[count]);
    }
    return count;
}
