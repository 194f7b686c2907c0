/*
 * Barriers, and the instructions that are atomic.
 *
 * QEMU leaves a guest's barriers out where it runs one processor at a time, and does what is locked as a load and a
 * store.  Domains run at the same time, and talk over shared rings; so here a barrier is one, and where a processor is
 * alone in its domain, whatever is locked stands between two.
 *
 * Where several processors run over the same memory, it is one locked instruction of the host's.  QEMU has a mode for
 * that, in which the translation calls a helper for each; the helpers are ours, since Unicorn's `xchg` is a load and a
 * store.  On a host that is an x86 other loads and stores need nothing: translated code makes them in the guest's
 * order, each with one instruction, and the host keeps x86's order.
 *
 * What is not aligned is the host's affair too, as long as it lies on one page.  What lies on two is done while no
 * other processor of the domain runs (`alone`); a device, or another domain, may see half of it.
 *
 *   tcg_gen_mb, tcg_gen_atomic_*      see above
 *   helper_atomic_*                   one locked instruction
 *   helper_cmpxchg8b_unlocked, 16b    the same, locked or not
 */
#include "interpose.h"

#define INDEX_OP_MB 4
#define TCG_MO_ALL_BAR_SC 0x3f
#define FLAG_Z 0x40u
#define VECTOR_GP 13

extern void tcg_gen_op1_x86_64(TcgContext *tcg, int opcode, TcgArg a);

void __wrap_tcg_gen_mb_x86_64(TcgContext *tcg, unsigned kind) { tcg_gen_op1_x86_64(tcg, INDEX_OP_MB, kind); }

/* ---- translation ---- */

static inline void before(TcgContext *tcg)
{
    if (interposed_current->shared)
        FIELD(tcg, TCG_CONTEXT_CFLAGS, uint32_t) |= CF_PARALLEL;
    else
        tcg_gen_op1_x86_64(tcg, INDEX_OP_MB, TCG_MO_ALL_BAR_SC);
}

static inline void after(TcgContext *tcg)
{
    if (interposed_current->shared)
        FIELD(tcg, TCG_CONTEXT_CFLAGS, uint32_t) &= ~CF_PARALLEL;
    else
        tcg_gen_op1_x86_64(tcg, INDEX_OP_MB, TCG_MO_ALL_BAR_SC);
}

#define LOCKED(name)                                                                                                  \
    extern void __real_tcg_gen_atomic_##name##_i64_x86_64(TcgContext *, TcgArg, TcgArg, TcgArg, TcgArg, unsigned);     \
    void __wrap_tcg_gen_atomic_##name##_i64_x86_64(TcgContext *tcg, TcgArg old, TcgArg va, TcgArg value, TcgArg mode, \
                                                   unsigned kind)                                                     \
    {                                                                                                                 \
        before(tcg);                                                                                                  \
        __real_tcg_gen_atomic_##name##_i64_x86_64(tcg, old, va, value, mode, kind);                                   \
        after(tcg);                                                                                                   \
    }
LOCKED(xchg)
LOCKED(fetch_add)
LOCKED(fetch_and)
LOCKED(fetch_or)
LOCKED(fetch_xor)
LOCKED(add_fetch)
LOCKED(and_fetch)
LOCKED(or_fetch)
LOCKED(xor_fetch)

extern void __real_tcg_gen_atomic_cmpxchg_i64_x86_64(TcgContext *, TcgArg, TcgArg, TcgArg, TcgArg, TcgArg, unsigned);

void __wrap_tcg_gen_atomic_cmpxchg_i64_x86_64(TcgContext *tcg, TcgArg old, TcgArg va, TcgArg expected, TcgArg value,
                                              TcgArg mode, unsigned kind)
{
    before(tcg);
    __real_tcg_gen_atomic_cmpxchg_i64_x86_64(tcg, old, va, expected, value, mode, kind);
    after(tcg);
}

/* ---- what is done, with what was there before as the result ---- */

typedef enum { XCHG, ADD, AND, OR, XOR, CMPXCHG } Operation;

#define DO(type)                                                                                                  \
    static inline type do_##type(type *at, Operation operation, type value, type expected)                        \
    {                                                                                                             \
        switch (operation) {                                                                                      \
        case XCHG: return __atomic_exchange_n(at, value, __ATOMIC_SEQ_CST);                                       \
        case ADD: return __atomic_fetch_add(at, value, __ATOMIC_SEQ_CST);                                         \
        case AND: return __atomic_fetch_and(at, value, __ATOMIC_SEQ_CST);                                         \
        case OR: return __atomic_fetch_or(at, value, __ATOMIC_SEQ_CST);                                           \
        case XOR: return __atomic_fetch_xor(at, value, __ATOMIC_SEQ_CST);                                         \
        case CMPXCHG:                                                                                             \
            __atomic_compare_exchange_n(at, &expected, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);         \
            return expected;                                                                                      \
        }                                                                                                         \
        __builtin_unreachable();                                                                                  \
    }
DO(uint8_t)
DO(uint16_t)
DO(uint32_t)
DO(uint64_t)

static uint64_t do_sized(void *at, unsigned size, Operation operation, uint64_t value, uint64_t expected)
{
    switch (size) {
    case 1: return do_uint8_t(at, operation, (uint8_t)value, (uint8_t)expected);
    case 2: return do_uint16_t(at, operation, (uint16_t)value, (uint16_t)expected);
    case 4: return do_uint32_t(at, operation, (uint32_t)value, (uint32_t)expected);
    default: return do_uint64_t(at, operation, value, expected);
    }
}

/* ---- where ---- */

static inline TlbEntry *entry_of(CPUX86State *env, uint64_t va, int mode)
{
    return tlb_at((uint8_t *)env - CPU_ENV, mode, va);
}

/* Where it is plain memory that the TLB knows, NULL else. */
static inline void *quickly(CPUX86State *env, uint64_t va, unsigned size, int mode)
{
    TlbEntry *entry = entry_of(env, va, mode);
    if (__builtin_expect(entry->addr_write != (va & ~0xfffull) || (va & 0xfff) + size > 4096, false))
        return NULL;
    return (void *)(entry->addend + va);
}

/* Bytes on one page.  A fault does not return. */
static uint8_t *find(CPUX86State *env, uint64_t va, unsigned size, int mode, uintptr_t retaddr)
{
    void *cpu = (uint8_t *)env - CPU_ENV;
    TlbEntry *entry = entry_of(env, va, mode);
    if (!leads_to(entry->addr_write, va) && !interposed_bring_back(cpu, mode, entry, va, ACCESS_STORE))
        __wrap_x86_cpu_tlb_fill_x86_64(cpu, va, (int)size, ACCESS_STORE, mode, false, retaddr);
    if (entry->addr_write & TLB_WATCHPOINT_BIT)
        __wrap_cpu_check_watchpoint_x86_64(cpu, va, size, 0, WATCH_WRITE, retaddr);
    if (entry->addr_write & TLB_NOTDIRTY_BIT)
        code_store(cpu, entry, va, size, retaddr);
    return (uint8_t *)(entry->addend + va);
}

static inline void alone(Interposed *engine, bool begin)
{
    if (engine->shared)
        engine->alone(engine->engine, begin);
}

static uint64_t on_two_pages(CPUX86State *env, uint64_t va, unsigned size, int mode, Operation operation,
                             uint64_t value, uint64_t expected, uintptr_t retaddr)
{
    Interposed *engine = interposed_current;
    unsigned first = 4096 - (va & 0xfff);
    uint64_t word = 0, old;
    for (;;) {
        find(env, va, first, mode, retaddr);
        find(env, va + first, size - first, mode, retaddr);
        alone(engine, true);
        /* What others asked meanwhile was done, so the pages may be elsewhere now. */
        if (leads_to(entry_of(env, va, mode)->addr_write, va) &&
            leads_to(entry_of(env, va + first, mode)->addr_write, va + first))
            break;
        alone(engine, false);
    }
    uint8_t *low = (uint8_t *)(entry_of(env, va, mode)->addend + va);
    uint8_t *high = (uint8_t *)(entry_of(env, va + first, mode)->addend + va + first);
    memcpy(&word, low, first);
    memcpy((uint8_t *)&word + first, high, size - first);
    old = do_sized(&word, size, operation, value, expected);
    memcpy(low, &word, first);
    memcpy(high, (uint8_t *)&word + first, size - first);
    alone(engine, false);
    code_written(engine, env, va, size, mode);
    return old;
}

static __attribute__((noinline)) uint64_t slowly(CPUX86State *env, uint64_t va, unsigned size, int mode,
                                                 Operation operation, uint64_t value, uint64_t expected,
                                                 uintptr_t retaddr)
{
    if ((va & 0xfff) + size > 4096)
        return on_two_pages(env, va, size, mode, operation, value, expected, retaddr);
    uint64_t old = do_sized(find(env, va, size, mode, retaddr), size, operation, value, expected);
    code_written(interposed_current, env, va, size, mode);
    return old;
}

/* ---- helpers ---- */

#define RETADDR ((uintptr_t)__builtin_return_address(0))

#define HELPER(name, suffix, type, argument, operation, result)                                                    \
    argument __wrap_helper_atomic_##name##suffix##_x86_64(CPUX86State *env, uint64_t va, argument given, uint32_t oi) \
    {                                                                                                              \
        type value = (type)given, *at = quickly(env, va, sizeof(type), MODE(oi));                                  \
        type old = at != NULL ? do_##type(at, operation, value, 0)                                                 \
                              : (type)slowly(env, va, sizeof(type), MODE(oi), operation, value, 0, RETADDR);       \
        return (type)(result);                                                                                     \
    }
#define HELPERS(name, operation, result)                           \
    HELPER(name, b, uint8_t, uint32_t, operation, result)          \
    HELPER(name, w_le, uint16_t, uint32_t, operation, result)      \
    HELPER(name, l_le, uint32_t, uint32_t, operation, result)      \
    HELPER(name, q_le, uint64_t, uint64_t, operation, result)
HELPERS(xchg, XCHG, old)
HELPERS(fetch_add, ADD, old)
HELPERS(fetch_and, AND, old)
HELPERS(fetch_or, OR, old)
HELPERS(fetch_xor, XOR, old)
HELPERS(add_fetch, ADD, old + value)
HELPERS(and_fetch, AND, old & value)
HELPERS(or_fetch, OR, old | value)
HELPERS(xor_fetch, XOR, old ^ value)

#define HELPER_CMPXCHG(suffix, type, argument)                                                                     \
    argument __wrap_helper_atomic_cmpxchg##suffix##_x86_64(CPUX86State *env, uint64_t va, argument expected,       \
                                                           argument value, uint32_t oi)                            \
    {                                                                                                              \
        type *at = quickly(env, va, sizeof(type), MODE(oi));                                                       \
        return at != NULL ? do_##type(at, CMPXCHG, (type)value, (type)expected)                                    \
                          : (type)slowly(env, va, sizeof(type), MODE(oi), CMPXCHG, value, expected, RETADDR);      \
    }
HELPER_CMPXCHG(b, uint8_t, uint32_t)
HELPER_CMPXCHG(w_le, uint16_t, uint32_t)
HELPER_CMPXCHG(l_le, uint32_t, uint32_t)
HELPER_CMPXCHG(q_le, uint64_t, uint64_t)

/* ---- cmpxchg8b and cmpxchg16b, whose translation asks for the one that is not locked ---- */

enum { RAX, RCX, RDX, RBX };

static void conclude(CPUX86State *env, bool equal, uint64_t low, uint64_t high)
{
    uint32_t flags = cpu_cc_compute_all_x86_64(env, (int)env->cc_op) & ~FLAG_Z;
    if (!equal) {
        env->regs[RAX] = low;
        env->regs[RDX] = high;
    }
    env->cc_src = flags | (equal ? FLAG_Z : 0);
}

void __wrap_helper_cmpxchg8b_unlocked_x86_64(CPUX86State *env, uint64_t va)
{
    uint64_t expected = (uint32_t)env->regs[RAX] | env->regs[RDX] << 32;
    uint64_t value = (uint32_t)env->regs[RBX] | env->regs[RCX] << 32;
    uint64_t old = slowly(env, va, 8, mode_of(env), CMPXCHG, value, expected, RETADDR);
    conclude(env, old == expected, (uint32_t)old, old >> 32);
}

void __wrap_helper_cmpxchg16b_unlocked_x86_64(CPUX86State *env, uint64_t va)
{
    if (va & 15) {
        env->old_exception = -1;
        raise_exception_err_ra_x86_64(env, VECTOR_GP, 0, RETADDR);
    }
    uint64_t low = env->regs[RAX], high = env->regs[RDX];
    uint64_t *at = (uint64_t *)find(env, va, 16, mode_of(env), RETADDR);
    bool equal;
#ifdef __x86_64__
    __asm__ volatile("lock cmpxchg16b %1"
                     : "=@ccz"(equal), "+m"(*(__uint128_t *)at), "+a"(low), "+d"(high)
                     : "b"(env->regs[RBX]), "c"(env->regs[RCX])
                     : "memory");
#else
#error "a host without a compare-and-exchange of 16 bytes"
#endif
    code_written(interposed_current, env, va, 16, mode_of(env));
    conclude(env, equal, low, high);
}
