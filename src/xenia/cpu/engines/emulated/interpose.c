/*
 * Functions that the linker puts in the place of Unicorn's own (`--wrap=symbol`), each because the original is either
 * wrong for a paravirtualised guest or slow on a path that a guest takes all the time:
 *
 *   helper_syscall, helper_sysenter   go straight to the engine, without hook lists and without the unwinding of
 *                                     translation state that they would do first (the translator has already stored
 *                                     rip and the condition codes).
 *   helper_rechecking_single_step     the flags after a system call are those of where the core goes on: a trap flag
 *                                     there stops after the first instruction, not before it.
 *   helper_cpuid                      CPUID is the core's policy, the same for every engine.  It serialises: what others
 *                                     asked this processor to forget is forgotten before it.
 *   helper_pause                      QEMU leaves its execution loop so that another processor may run.  Here that has a
 *                                     thread of its own; but where the host has none to run it on, this one's is lent.
 *   helper_in*, helper_out*           Unicorn lets every ring do port I/O; here each is a #GP for the core to judge.
 *   x86_cpu_tlb_fill                  the page walk reads machine memory directly, and fills the TLB directly, instead of
 *                                     through QEMU's address spaces; a page is executable there only once it was
 *                                     executed, so that writes to it need no watching; faults never turn into double
 *                                     faults (that is the core's business).
 *   cpu_check_watchpoint              Unicorn left data watchpoints out.
 *   helper_rdpmc                      privileged, not unknown.
 *
 * And, in files of their own: atomics.c, bases.c, code.c, host.c, jumps.c, links.c, relative.c, segments.c, stops.c and
 * strings.c.
 */
#include "interpose.h"

#include <sched.h>

THREAD_LOCAL Interposed *interposed_current;
#define current interposed_current

Interposed *interposed_enter(Interposed *engine)
{
    Interposed *before = current;
    current = engine;
    return before;
}

/* ---- system calls and cpuid ---- */

void __wrap_helper_syscall_x86_64(CPUX86State *env, int length)
{
    (void)env;
    current->on_syscall(current->engine, 0, length);
}

void __wrap_helper_sysenter_x86_64(CPUX86State *env, int length)
{
    (void)env;
    current->on_syscall(current->engine, 1, length);
}

void __wrap_helper_rechecking_single_step_x86_64(CPUX86State *env) { (void)env; }

void __wrap_helper_cpuid_x86_64(CPUX86State *env)
{
    if (current->shared) {
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (FIELD(env, ENV_ICOUNT_DECR, int32_t) < 0) /* here once more, afterwards */
            cpu_loop_exit_noexc_x86_64((uint8_t *)env - CPU_ENV);
    }
    current->on_cpuid(current->engine);
}

#define PAUSES 64 /* so many, and whoever is waited for would have been done if it had a processor of the host's */

void __wrap_helper_pause_x86_64(CPUX86State *env, int length)
{
    env->eip += length;
    if (current->shared && ++current->pauses % PAUSES == 0)
        sched_yield();
    cpu_loop_exit_noexc_x86_64((uint8_t *)env - CPU_ENV);
}

/* ---- port I/O and rdpmc ---- */

static uint64_t privileged(CPUX86State *env, uintptr_t retaddr)
{
    env->old_exception = -1;
    raise_exception_err_ra_x86_64(env, 13, 0, retaddr);
    return 0;
}

#define RETADDR ((uintptr_t)__builtin_return_address(0))

void __wrap_helper_rdpmc_x86_64(CPUX86State *env) { privileged(env, RETADDR); }

#define PORT(width)                                                                     \
    uint64_t __wrap_helper_in##width##_x86_64(CPUX86State *env, uint32_t port)          \
    {                                                                                   \
        (void)port;                                                                     \
        return privileged(env, RETADDR);                                                \
    }                                                                                   \
    void __wrap_helper_out##width##_x86_64(CPUX86State *env, uint32_t port, uint32_t v) \
    {                                                                                   \
        (void)port, (void)v;                                                            \
        privileged(env, RETADDR);                                                       \
    }
PORT(b)
PORT(w)
PORT(l)

/* ---- the page walk ---- */

#define PFEC_P 1
#define PFEC_W 2
#define PFEC_U 4
#define PFEC_RSVD 8
#define PFEC_I 16

enum { PROT_R = 1, PROT_W = 2, PROT_X = 4 };

static inline uint64_t read_entry(const uint64_t *entry) { return __atomic_load_n(entry, __ATOMIC_RELAXED); }

/* Accessed and dirty, as long as the entry is still what was read; others change it at the same time. */
static inline bool set_bits(uint64_t *entry, uint64_t *pte, uint64_t bits)
{
    if ((*pte & bits) == bits)
        return true;
    if (!__atomic_compare_exchange_n(entry, pte, *pte | bits, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
        return false;
    *pte |= bits;
    return true;
}

static inline bool is_entry_of(TlbEntry *entry, uint64_t va)
{
    const uint64_t page = ~0xfffull | TLB_INVALID_BIT;
    return (entry->addr_read & page) == va || (entry->addr_write & page) == va || (entry->addr_code & page) == va;
}

/* The data watchpoints that an access touches: those in dr0 to dr3 as dr6 bits, and a debugger's. */
static uint32_t watched(Interposed *engine, CPUX86State *env, uint64_t va, uint64_t length, bool store)
{
    static const uint8_t lengths[] = {1, 2, 8, 4};
    uint32_t hits = engine->stops.nr_watches ? debug_watched(engine, va, length, store) : 0;
    for (int n = 0; n < 4; n++) {
        unsigned kind = env->dr[7] >> (16 + 4 * n) & 3, extent = lengths[env->dr[7] >> (18 + 4 * n) & 3];
        uint64_t first = env->dr[n] & ~(uint64_t)(extent - 1);
        if ((env->dr[7] >> 2 * n & 3) && (kind == 3 || (kind == 1 && store)) && first < va + length
            && va < first + extent)
            hits |= 1 << n;
    }
    return hits;
}

static void fill(Interposed *engine, CPUX86State *env, uint64_t va, uint64_t maddr, int prot, int mode)
{
    void *cpu = (uint8_t *)env - CPU_ENV;
    TlbDescriptor *descriptor = TLB_DESCRIPTOR(cpu, mode);
    TlbEntry *entry = tlb_at(cpu, mode, va);
    uint64_t index = entry - TLB_TABLE(cpu, mode)->entries, frame = maddr >> 12;
    uint64_t writable = va | (is_code(engine, frame) ? TLB_NOTDIRTY_BIT : 0);

    FIELD(cpu, CPU_TLB_DIRTY, uint16_t) |= 1 << mode;
    for (int i = 0; i < VICTIM_ENTRIES; i++)
        if (is_entry_of(&descriptor->victims[i], va)) {
            memset(&descriptor->victims[i], -1, sizeof(TlbEntry));
            descriptor->n_used_entries--;
        }
    if (!is_entry_of(entry, va) && (entry->addr_read & entry->addr_write & entry->addr_code) != UINT64_MAX) {
        uint64_t victim = descriptor->victim_index++ % VICTIM_ENTRIES;
        descriptor->victims[victim] = *entry;
        descriptor->victim_io[victim] = descriptor->io[index];
        descriptor->n_used_entries--;
    }
    descriptor->io[index].addr = maddr - va;
    descriptor->io[index].attributes = 0;
    entry->paddr = maddr;
    entry->addend = (uint64_t)engine->machine_memory + maddr - va;
    entry->addr_read = va;
    entry->addr_write = prot & PROT_W ? writable : UINT64_MAX;
    entry->addr_code = prot & PROT_X ? va : UINT64_MAX;
    if ((env->dr[7] & 0xff) | engine->stops.nr_watches) {
        entry->addr_read |= watched(engine, env, va, 4096, false) ? TLB_WATCHPOINT_BIT : 0;
        if (prot & PROT_W)
            entry->addr_write |= watched(engine, env, va, 4096, true) ? TLB_WATCHPOINT_BIT : 0;
    }
    descriptor->n_used_entries++;
}

bool __wrap_x86_cpu_tlb_fill_x86_64(void *cpu, uint64_t va, int size, int access, int mmu_idx, bool probe,
                                    uintptr_t retaddr)
{
    CPUX86State *env = (CPUX86State *)((uint8_t *)cpu + CPU_ENV);
    Interposed *engine = current;
    int64_t canonical = (int64_t)va >> 47;
    uint64_t table, rights, nx, maddr, pte, *entry;
    int error, prot;
    bool user = mmu_idx == MMU_USER_IDX, store = access == ACCESS_STORE;

    (void)size;
    engine->tlb_fills++;
    if (canonical != 0 && canonical != -1) {
        if (probe)
            return false;
        env->old_exception = -1;
        engine->noncanonical = va;
        raise_exception_err_ra_x86_64(env, 13, 0, retaddr);
    }
again:
    table = env->cr[3], rights = PTE_U | PTE_W, nx = 0, error = 0;
    for (int level = 3;; level--) {
        entry = entry_at(engine, table, (va >> (12 + 9 * level)) & 511);
        if (entry == NULL || !((pte = read_entry(entry)) & PTE_P))
            goto fault;
        rights &= pte;
        nx |= pte & PTE_NX;
        if (level && !set_bits(entry, &pte, PTE_A))
            goto again;
        if (level == 0) {
            maddr = pte & PTE_FRAME;
            break;
        }
        if (level == 1 && (pte & PTE_PS)) {
            maddr = (pte & PTE_FRAME & ~0x1fffffull) | (va & 0x1ff000);
            break;
        }
        table = pte;
    }
    error = PFEC_P;
    if (maddr >= engine->machine_bytes) { /* mm/ lets no such entry be: a second wall */
        error |= PFEC_RSVD;
        goto fault;
    }
    if ((user && !user_reaches(engine, va, rights)) || (store && !(rights & PTE_W)) || (access == ACCESS_FETCH && nx))
        goto fault;
    if (!set_bits(entry, &pte, PTE_A | (store ? PTE_D : 0)))
        goto again;
    if (access == ACCESS_FETCH)
        prot = PROT_R | PROT_X;
    else
        prot = (rights & PTE_W) && (pte & PTE_D) ? PROT_R | PROT_W : PROT_R;
    fill(engine, env, va & ~0xfffull, maddr, prot, mmu_idx);
    return true;

fault:
    if (probe)
        return false;
    env->cr[2] = va;
    env->old_exception = -1;
    raise_exception_err_ra_x86_64(env, 14, error | (store ? PFEC_W : 0) | (user ? PFEC_U : 0) |
                                  (access == ACCESS_FETCH ? PFEC_I : 0), retaddr);
    return false;
}

/* ---- what translated code calls when it finds no entry ---- */

#define ALIGNED(oi) ((oi) & 0x700) /* the access faults where it is not aligned */

bool interposed_bring_back(void *cpu, int mode, TlbEntry *entry, uint64_t va, int access)
{
    TlbDescriptor *descriptor = TLB_DESCRIPTOR(cpu, mode);
    for (int i = 0; i < VICTIM_ENTRIES; i++) {
        TlbEntry *victim = &descriptor->victims[i], kept = *entry;
        IoTlbEntry *io = &descriptor->io[entry - TLB_TABLE(cpu, mode)->entries], kept_io = *io;
        if (!leads_to(access == ACCESS_STORE ? victim->addr_write : victim->addr_read, va))
            continue;
        *entry = *victim, *io = descriptor->victim_io[i];
        *victim = kept, descriptor->victim_io[i] = kept_io;
        return true;
    }
    return false;
}

/* The plain memory at `va`, or NULL: across two pages, watched, a device's business.  A fault does not return. */
static inline uint8_t *reach(CPUX86State *env, uint64_t va, unsigned size, uint32_t oi, int access, uintptr_t retaddr)
{
    void *cpu = (uint8_t *)env - CPU_ENV;
    TlbEntry *entry = tlb_at(cpu, MODE(oi), va);
    uint64_t *address = access == ACCESS_STORE ? &entry->addr_write : &entry->addr_read;
    if ((va & 0xfff) + size > 4096 || ALIGNED(oi))
        return NULL;
    if (!leads_to(*address, va) && !interposed_bring_back(cpu, MODE(oi), entry, va, access))
        __wrap_x86_cpu_tlb_fill_x86_64(cpu, va, size, access, MODE(oi), false, retaddr);
    return *address == (va & ~0xfffull) ? (uint8_t *)(entry->addend + va) : NULL;
}

#define LOAD(function, type, result, mode, parameters, arguments)                                \
    extern result __real_##function parameters;                                                  \
    result __wrap_##function parameters                                                          \
    {                                                                                            \
        const uint8_t *memory = reach(env, va, sizeof(type), mode, ACCESS_LOAD, retaddr);        \
        type value;                                                                              \
        if (memory == NULL)                                                                      \
            return __real_##function arguments;                                                  \
        memcpy(&value, memory, sizeof value);                                                    \
        return value;                                                                            \
    }

#define STORE(function, type, mode, parameters, arguments)                                       \
    extern void __real_##function parameters;                                                    \
    void __wrap_##function parameters                                                            \
    {                                                                                            \
        uint8_t *memory = reach(env, va, sizeof(type), mode, ACCESS_STORE, retaddr);             \
        type narrow = value;                                                                     \
        if (memory != NULL) {                                                                    \
            memcpy(memory, &narrow, sizeof narrow);                                              \
            return;                                                                              \
        }                                                                                        \
        __real_##function arguments;                                                             \
        code_written(current, env, va, sizeof narrow, MODE(mode));                               \
    }

#define JIT_LOAD(name, type)                                                                     \
    LOAD(helper_##name##_mmu_x86_64, type, uint64_t, oi,                                         \
         (CPUX86State * env, uint64_t va, uint32_t oi, uintptr_t retaddr), (env, va, oi, retaddr))
JIT_LOAD(ret_ldub, uint8_t)
JIT_LOAD(le_lduw, uint16_t)
JIT_LOAD(le_ldul, uint32_t)
JIT_LOAD(le_ldq, uint64_t)

#define JIT_STORE(name, type)                                                                    \
    STORE(helper_##name##_mmu_x86_64, type, oi,                                                  \
          (CPUX86State * env, uint64_t va, type value, uint32_t oi, uintptr_t retaddr),          \
          (env, va, value, oi, retaddr))
JIT_STORE(ret_stb, uint8_t)
JIT_STORE(le_stw, uint16_t)
JIT_STORE(le_stl, uint32_t)
JIT_STORE(le_stq, uint64_t)

/* ---- the same for helpers, and for the translator ---- */

#define DATA_LOAD(letter, type, result)                                                          \
    LOAD(cpu_ld##letter##_data_ra_x86_64, type, result, mode_of(env),                            \
         (CPUX86State * env, uint64_t va, uintptr_t retaddr), (env, va, retaddr))
DATA_LOAD(ub, uint8_t, uint32_t)
DATA_LOAD(uw, uint16_t, uint32_t)
DATA_LOAD(l, uint32_t, uint32_t)
DATA_LOAD(q, uint64_t, uint64_t)

#define DATA_STORE(letter, type, argument)                                                       \
    STORE(cpu_st##letter##_data_ra_x86_64, type, mode_of(env),                                   \
          (CPUX86State * env, uint64_t va, argument value, uintptr_t retaddr), (env, va, value, retaddr))
DATA_STORE(b, uint8_t, uint32_t)
DATA_STORE(w, uint16_t, uint32_t)
DATA_STORE(l, uint32_t, uint32_t)
DATA_STORE(q, uint64_t, uint64_t)

#define LOAD_CODE(letter, type, result) \
    extern result __real_cpu_ld##letter##_code_x86_64(CPUX86State *, uint64_t); \
    result __wrap_cpu_ld##letter##_code_x86_64(CPUX86State *env, uint64_t va) \
    { \
        va = code_address(env, va); \
        const TlbEntry *entry = tlb_entry(env, va); \
        type value; \
        if (current->shared) \
            code_read(current, env, va, sizeof value); \
        if ((va & 0xfff) + sizeof value > 4096 || entry->addr_code != (va & ~0xfffull)) \
            value = __real_cpu_ld##letter##_code_x86_64(env, va); \
        else \
            memcpy(&value, (const uint8_t *)(entry->addend + va), sizeof value); \
        if (sizeof value == 8) \
            relative_number(env, value); \
        return value; \
    }
LOAD_CODE(ub, uint8_t, uint32_t)
LOAD_CODE(uw, uint16_t, uint32_t)
LOAD_CODE(l, uint32_t, uint32_t)
LOAD_CODE(q, uint64_t, uint64_t)

uint8_t *interposed_walk(Interposed *engine, CPUX86State *env, uint64_t va)
{
    uint64_t table = env->cr[3];
    for (int level = 3; level >= 0; level--) {
        uint64_t *entry = entry_at(engine, table, (va >> (12 + 9 * level)) & 511);
        if (entry == NULL)
            return NULL;
        table = read_entry(entry);
        if (!(table & PTE_P) || (level == 1 && (table & PTE_PS)))
            return NULL;
    }
    table = (table & PTE_FRAME) + (va & 0xfff);
    return table < engine->machine_bytes ? engine->machine_memory + table : NULL;
}

/* ---- data watchpoints: a trap after the instruction that touches the data ---- */

/* Before an access to a watched page.  Where it touches what is watched, the instruction is done again in a block of
 * its own, after which cpu_exec ends; the engine finds `watch_hits`. */
void __wrap_cpu_check_watchpoint_x86_64(void *cpu, uint64_t va, uint64_t length, uint32_t attributes, int access,
                                        uintptr_t retaddr)
{
    CPUX86State *env = (CPUX86State *)((uint8_t *)cpu + CPU_ENV);
    uint32_t hits = watched(current, env, va, length, access == WATCH_WRITE);
    (void)attributes;
    if (!hits)
        return;
    if (current->watch_armed) {
        current->watch_hits |= hits;
        STOP_TRANSLATED(cpu);
        return;
    }
    current->watch_armed = true;
    FIELD(cpu, CPU_CFLAGS_NEXT_TB, uint32_t) = 1; /* instructions */
    cpu_loop_exit_restore_x86_64(cpu, retaddr);
}
