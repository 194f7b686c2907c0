/*
 * What the engine uses of Unicorn 2.1.4 beyond its public API.
 *
 * Unicorn is QEMU's TCG as a library.  Its wheel ships the static library; linking that gives the engine QEMU's own
 * internal functions by name, and lets the linker put ours in place of a few (`--wrap`, see interpose.c).  Names are
 * checked when the extension is linked; the offsets below are checked when an engine is made (layout_fault).
 */
#ifndef XENIA_UNICORN_X86_H
#define XENIA_UNICORN_X86_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unicorn/unicorn.h>

/* struct uc_struct */
#define UC_CPU 0x1b8
#define UC_TCG_CONTEXT 0x300
#define UC_NO_EXIT_REQUEST 0x7f2
#define UC_INIT_DONE 0x7f3
#define UC_NESTED_LEVEL 0x39f8

/* TCGContext.  QEMU hands temporaries around as offsets from it. */
typedef void TcgContext;
typedef void TcgTemp;
typedef uintptr_t TcgArg;
typedef struct {
    uint8_t opcode;
    void *next, *prev; /* prev: where the one before has its `next` */
    TcgArg args[12];
} TcgOp;
#define INDEX_OP_MOVI_I64 0x40
#define INDEX_OP_ST_I64 0x4d
#define TCG_TYPE_I32 0
#define TCG_TYPE_I64 1
#define TB_EXIT_REQUESTED 3 /* in the low bits of how translated code ended: it had been asked to before it began */
#define TCG_CONTEXT_NR_OPS 0x38
#define TCG_CONTEXT_CFLAGS 0x64 /* of the block that is being translated */
#define TCG_CONTEXT_PROLOGUE 0x90 /* what runs translated code */
#define TCG_CONTEXT_EPILOGUE 0x98
#define TCG_CONTEXT_LAST_OP 0x7390 /* where that has its `next` */
#define TCG_CPU_ENV(tcg) ((TcgTemp *)(FIELD(tcg, 0x98f0, uintptr_t) + (uintptr_t)(tcg)))

/* CPUState; CPUX86State follows in the same object */
#define CPU_EXIT_REQUEST 0x15
#define CPU_CFLAGS_NEXT_TB 0x18
#define CPU_ENV_PTR 0x128
#define CPU_ICOUNT_DECR_PTR 0x130
#define CPU_TB_JMP_CACHE 0x138
#define TB_JMP_CACHE_INDEX(pc) ((((pc) ^ (pc) >> 6) >> 6 & 0xfc0) | (((pc) ^ (pc) >> 6) & 0x3f))
#define CPU_BREAKPOINTS 0x8148 /* the first of QEMU's list; behind it where the last one has its `next` */
#define CPU_OPAQUE 0x8170 /* for whoever made the processor */
#define CPU_HALTED 0x8198
#define CPU_EXCEPTION_INDEX 0x81a0
#define CPU_UC 0x81a8
#define CPU_TLB 0x81c0
#define CPU_TLB_DIRTY CPU_TLB /* a bit for each mode: has entries */
#define CPU_TLB_DESCRIPTORS (CPU_TLB + 0x20)
#define CPU_TLB_TABLES (CPU_TLB + 0x850)
#define CPU_ENV 0x8a50
#define ENV_ICOUNT_DECR (-16)

/* CPUX86State */
typedef struct {
    uint32_t selector;
    uint64_t base;
    uint32_t limit;
    uint32_t flags;
} SegmentCache;

typedef struct {
    uint8_t bytes[10]; /* MMX: the first eight */
} __attribute__((aligned(16))) FpuRegister;

typedef struct {
    uint64_t words[8]; /* SSE: the first two */
} SseRegister;

typedef struct {
    uint64_t regs[16];
    uint64_t eip;
    uint64_t eflags; /* without the condition codes and DF */
    uint64_t cc_dst, cc_src, cc_src2;
    uint32_t cc_op;
    int32_t df; /* 1 or -1 */
    uint32_t hflags, hflags2;
    SegmentCache segs[6];
    SegmentCache ldt, tr, gdt, idt;
    uint64_t cr[9];
    int32_t a20_mask;
    uint64_t code_page; /* see relative.c; QEMU has the first register of MPX here, which no processor has */
    uint8_t pad0[0x250 - 0x200];
    uint64_t efer;
    uint8_t pad1[0x25c - 0x258];
    uint32_t fpstt; /* the register that is ST(0) */
    uint16_t fpus, fpuc; /* fpus without that */
    uint8_t fptags[8]; /* of registers: 1 is empty */
    FpuRegister fpregs[8];
    uint16_t fpop, fpcs, fpds;
    uint64_t fpip, fpdp;
    uint8_t pad2[0x330 - 0x308];
    uint32_t mxcsr;
    SseRegister xmm[32];
    uint8_t pad3[0x1300 - 0xb38];
    uint64_t kernelgsbase;
    uint8_t pad4[0x1320 - 0x1308];
    uint64_t tsc_aux;
    uint8_t pad5[0x1508 - 0x1328];
    int32_t error_code;
    int32_t exception_is_int;
    uint64_t exception_next_eip;
    uint64_t dr[8];
    uint8_t pad6[0x1578 - 0x1558];
    int32_t old_exception;
    uint8_t pad7[0x1588 - 0x157c];
    uint64_t tsc_offset;
    uint8_t pad8[0x15e4 - 0x1590];
    uint32_t cpuid_level, cpuid_xlevel, cpuid_xlevel2;
    uint32_t cpuid_vendor1, cpuid_vendor2, cpuid_vendor3;
    uint32_t cpuid_version;
    uint64_t features[9]; /* FEAT_1_EDX, FEAT_1_ECX, FEAT_7_0_EBX, ... */
} CPUX86State;

_Static_assert(offsetof(CPUX86State, cr) == 0x1a8, "cr");
_Static_assert(offsetof(CPUX86State, code_page) == 0x1f8, "code_page");
_Static_assert(offsetof(CPUX86State, efer) == 0x250, "efer");
_Static_assert(offsetof(CPUX86State, fpregs) == 0x270, "fpregs");
_Static_assert(offsetof(CPUX86State, fpip) == 0x2f8, "fpip");
_Static_assert(offsetof(CPUX86State, mxcsr) == 0x330, "mxcsr");
_Static_assert(offsetof(CPUX86State, xmm) == 0x338, "xmm");
_Static_assert(offsetof(CPUX86State, error_code) == 0x1508, "error_code");
_Static_assert(offsetof(CPUX86State, dr) == 0x1518, "dr");
_Static_assert(offsetof(CPUX86State, old_exception) == 0x1578, "old_exception");
_Static_assert(offsetof(CPUX86State, cpuid_vendor1) == 0x15f0, "cpuid_vendor1");
_Static_assert(offsetof(CPUX86State, features) == 0x1600, "features");

#define HF_CPL 3u
#define HF_INHIBIT_IRQ (1u << 3) /* for the instruction after one that loads SS */
#define HF_CS32 (1u << 4)
#define HF_SS32 (1u << 5)
#define HF_ADDSEG (1u << 6)
#define HF_TF (1u << 8)
#define HF_PE (1u << 7)
#define HF_MP (1u << 9)
#define HF_TS (1u << 11)
#define HF_LMA (1u << 14)
#define RFLAGS_TF (1u << 8)
#define RFLAGS_RF (1u << 16)
#define HF_CS64 (1u << 15)
#define HF_OSFXSR (1u << 22)

#define SREG_ES 0
#define SREG_CS 1
#define SREG_SS 2
#define SREG_DS 3
#define REG_RSP 4

/* What a translation depends on beside its address: HFLAGS, and of RFLAGS these (TF, IOPL, RF, VM, AC). */
#define TB_RFLAGS 0x73100u

#define CC_OP_EFLAGS 1
#define MMU_USER_IDX 1
#define MMU_KERNEL_IDX 2 /* no SMAP */
#define NB_MMU_MODES 3
#define VICTIM_ENTRIES 8

typedef struct { /* one cached translation; an address of -1 is none */
    uint64_t addr_read, addr_write, addr_code;
    uint64_t paddr;
    uint64_t addend;
    uint8_t pad[24];
} TlbEntry;
_Static_assert(sizeof(TlbEntry) == 64, "TlbEntry");

typedef struct {
    uint64_t addr; /* ram address - virtual address of the page */
    uint32_t attributes;
} IoTlbEntry;

typedef struct { /* of one mode, off the fast path */
    uint64_t large_page_addr, large_page_mask;
    int64_t window_begin_ns;
    uint64_t window_max_entries, n_used_entries;
    uint64_t victim_index;
    TlbEntry victims[VICTIM_ENTRIES];
    IoTlbEntry victim_io[VICTIM_ENTRIES];
    IoTlbEntry *io;
} TlbDescriptor;
_Static_assert(sizeof(TlbDescriptor) == 696, "TlbDescriptor");

typedef struct { /* of one mode, for translated code */
    uint64_t mask; /* (entries - 1) * sizeof(TlbEntry) */
    TlbEntry *entries;
} TlbTable;
typedef struct { /* a translated block */
    uint64_t pc, cs_base;
    uint32_t flags;
    uint16_t size, icount;
    uint32_t cflags, trace_vcpu_dstate;
    void *code;
    uint8_t pad[0x48 - 0x28];
    uint64_t page_addr[2]; /* the second is -1 but for a block on two pages */
    uint16_t jmp_reset_offset[2];
    uintptr_t jmp_insn_offset[2];
    uintptr_t jmp_list_head; /* jumps to this block: the block that jumps, and in its low bits which jump of that */
    uintptr_t jmp_list_next[2];
    uintptr_t jmp_dest[2]; /* with bit 0 set, never to be linked again */
} TranslatedBlock;
_Static_assert(offsetof(TranslatedBlock, page_addr) == 0x48, "TranslatedBlock");
_Static_assert(offsetof(TranslatedBlock, jmp_dest) == 0x88, "TranslatedBlock");
typedef struct Breakpoint { /* QEMU's */
    uint64_t pc;
    int flags;
    struct Breakpoint *next, **before; /* where the one before has its `next` */
} Breakpoint;
_Static_assert(offsetof(Breakpoint, next) == 0x10, "Breakpoint");
#define BP_GDB 0x10 /* cpu_exec ends there with EXCP_DEBUG, and the guest is told nothing */
#define EXCP_DEBUG 0x10002

#define CF_COUNT_MASK 0x7fffu
#define CF_NOCACHE 0x10000u
#define CF_INVALID 0x40000u
#define CF_PARALLEL 0x80000u
#define CF_CLUSTER 0xff000000u /* of a processor that belongs to none */

#define TLB_INVALID_BIT (1u << 11)
#define TLB_NOTDIRTY_BIT (1u << 10)
#define TLB_WATCHPOINT_BIT (1u << 8)

#define TLB_TABLE(cpu, mode) ((TlbTable *)((uint8_t *)(cpu) + CPU_TLB_TABLES) + (mode))
#define TLB_DESCRIPTOR(cpu, mode) ((TlbDescriptor *)((uint8_t *)(cpu) + CPU_TLB_DESCRIPTORS) + (mode))
#define TLB_ENTRIES(table) (((table)->mask >> 6) + 1)

/* Ask the loop of cpu_exec to end before the next block; from any thread. */
#define STOP_TRANSLATED(cpu)                                                       \
    (__atomic_store_n(&FIELD(cpu, CPU_EXIT_REQUEST, uint8_t), 1, __ATOMIC_SEQ_CST), \
     __atomic_store_n((int16_t *)FIELD(cpu, CPU_ICOUNT_DECR_PTR, uint8_t *) + 1, -1, __ATOMIC_SEQ_CST))

/* It was asked to, and has not yet. */
#define STOP_REQUESTED(cpu) __atomic_load_n(&FIELD(cpu, CPU_EXIT_REQUEST, uint8_t), __ATOMIC_SEQ_CST)

#define FIELD(object, offset, type) (*(type *)((uint8_t *)(object) + (offset)))

uint32_t cpu_cc_compute_all_x86_64(CPUX86State *env, int op);
int cpu_exec_x86_64(uc_engine *uc, void *cpu);
_Noreturn void cpu_loop_exit_noexc_x86_64(void *cpu);
_Noreturn void cpu_loop_exit_restore_x86_64(void *cpu, uintptr_t retaddr);
void tlb_flush_x86_64(void *cpu);
void tlb_flush_page_x86_64(void *cpu, uint64_t va);
void tb_invalidate_phys_range_x86_64(uc_engine *uc, uint64_t start, uint64_t end);
void raise_exception_err_ra_x86_64(CPUX86State *env, int vector, int error, uintptr_t retaddr);
void cpu_x86_update_cr0_x86_64(CPUX86State *env, uint32_t value);
void cpu_x86_update_cr3_x86_64(CPUX86State *env, uint64_t value);
void cpu_x86_update_cr4_x86_64(CPUX86State *env, uint32_t value);
void cpu_x86_update_dr7_x86_64(CPUX86State *env, uint32_t value);
void update_fp_status_x86_64(CPUX86State *env);
void update_mxcsr_status_x86_64(CPUX86State *env);
uint32_t cpu_lduw_data_ra_x86_64(CPUX86State *env, uint64_t va, uintptr_t retaddr);
uint32_t cpu_ldl_data_ra_x86_64(CPUX86State *env, uint64_t va, uintptr_t retaddr);
uint64_t cpu_ldq_data_ra_x86_64(CPUX86State *env, uint64_t va, uintptr_t retaddr);
void cpu_stw_data_ra_x86_64(CPUX86State *env, uint64_t va, uint32_t value, uintptr_t retaddr);
void cpu_stl_data_ra_x86_64(CPUX86State *env, uint64_t va, uint32_t value, uintptr_t retaddr);
void cpu_stq_data_ra_x86_64(CPUX86State *env, uint64_t va, uint64_t value, uintptr_t retaddr);

#endif
