# What the engine uses of Unicorn and of the C files beside it (unicorn_x86.h, interpose.h).
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "interpose.h" nogil:
    ctypedef struct uc_engine:
        pass

    ctypedef struct SegmentCache:
        uint32_t selector
        uint64_t base
        uint32_t limit
        uint32_t flags

    ctypedef struct CPUX86State:
        uint64_t regs[16]
        uint64_t eip
        uint64_t eflags
        uint64_t cc_src
        uint32_t cc_op
        int32_t df
        uint32_t hflags
        SegmentCache segs[6]
        SegmentCache ldt
        SegmentCache tr
        SegmentCache gdt
        uint64_t cr[9]
        uint64_t efer
        uint32_t mxcsr
        int32_t error_code
        int32_t exception_is_int
        uint64_t exception_next_eip
        uint64_t dr[8]
        int32_t old_exception
        uint64_t tsc_offset
        uint32_t cpuid_vendor1
        uint32_t cpuid_vendor2
        uint32_t cpuid_vendor3
        uint64_t features[9]

    ctypedef struct StaleTranslation:
        uint64_t va, maddr
        char difference[40]
        bint writable

    ctypedef struct Jumps:
        pass

    ctypedef struct Stops:
        uint64_t touched
        unsigned nr_breakpoints, nr_watches

    ctypedef struct Links:
        pass

    ctypedef struct Interposed:
        uint8_t *machine_memory
        uint64_t machine_bytes
        void (*on_syscall)(void *engine, int is_sysenter, int length) noexcept nogil
        void (*on_cpuid)(void *engine) noexcept nogil
        void *engine
        uint8_t *code_frames
        uint64_t noncanonical
        uint32_t watch_hits
        bint watch_armed
        Stops stops
        uint64_t tlb_fills
        bint user_root
        Jumps *jumps
        Links *links
        bint visits
        bint returns
        uint64_t visited
        uint64_t blocks
        bint shared
        uint8_t *watched
        uint64_t storing[2]
        uint64_t unannounced
        void (*on_translated)(void *engine, uint64_t mfn) noexcept nogil
        void (*on_forgotten)(void *engine, uint64_t mfn) noexcept nogil
        void (*on_code_written)(void *engine, uint64_t maddr) noexcept nogil
        void (*alone)(void *engine, bint begin) noexcept nogil

    int UC_ARCH_X86
    int UC_MODE_64
    int UC_PROT_ALL
    int UC_HOOK_INTR
    int UC_HOOK_INSN_INVALID
    int UC_CPU_X86_EPYC_ROME
    uint32_t HF_INHIBIT_IRQ, HF_CS32, HF_SS32, HF_PE, HF_MP, HF_TS, HF_LMA, HF_CS64, HF_OSFXSR
    int CC_OP_EFLAGS, EXCP_DEBUG
    uint32_t WATCHED_BY_DEBUGGER
    int UC_CPU, UC_NO_EXIT_REQUEST, UC_NESTED_LEVEL
    int CPU_EXIT_REQUEST, CPU_CFLAGS_NEXT_TB, CPU_ENV_PTR, CPU_HALTED, CPU_EXCEPTION_INDEX, CPU_OPAQUE
    int VICTIM_ENTRIES, NB_MMU_MODES

    ctypedef struct TlbEntry:
        uint64_t addr_read, addr_write, addr_code, paddr, addend
    ctypedef struct TlbTable:
        TlbEntry *entries
    ctypedef struct TlbDescriptor:
        TlbEntry *victims
    TlbTable *TLB_TABLE(void *cpu, int mode)
    TlbDescriptor *TLB_DESCRIPTOR(void *cpu, int mode)
    uint64_t TLB_ENTRIES(TlbTable *table)

    void debug_set_stops(Interposed *engine, void *cpu, const void *stops, unsigned nr)
    bint debug_stops_at(const Interposed *engine, uint64_t pc)
    uint32_t debug_moves_flags(Interposed *engine, CPUX86State *env)
    void debug_moved_flags(Interposed *engine, CPUX86State *env, uint32_t moved, uint64_t hidden)
    unsigned uc_version(unsigned *major, unsigned *minor)
    int uc_open(int arch, int mode, uc_engine **uc)
    int uc_close(uc_engine *uc)
    int uc_ctl_set_tcg_buffer_size(uc_engine *uc, uint32_t size)
    int uc_ctl_set_cpu_model(uc_engine *uc, int model)
    int uc_ctl_exits_enable(uc_engine *uc)
    int uc_mem_map_ptr(uc_engine *uc, uint64_t address, size_t size, uint32_t perms, void *ptr)
    int uc_hook_add(uc_engine *uc, size_t *handle, int kind, void *callback, void *data, uint64_t begin, uint64_t end)

    unsigned translations_stale(Interposed *engine, void *cpu, StaleTranslation *found, unsigned room)
    const char *layout_fault(uc_engine *uc)
    void code_watch(void *cpu, uint64_t maddr)
    void code_watch_all(Interposed *engine, void *cpu)
    void fpu_save(const CPUX86State *env, uint8_t *area)
    void fpu_load(CPUX86State *env, const uint8_t *area)
    void segments_ring(CPUX86State *env, bint kernel)
    void segments_enter(Interposed *engine, CPUX86State *env, unsigned cs, unsigned ss, bint kernel)
    uint8_t *interposed_walk(Interposed *current, CPUX86State *env, uint64_t va)
    Interposed *interposed_enter(Interposed *engine)
    Jumps *jumps_new()
    void relative_begin(Interposed *engine, uc_engine *uc)
    void jumps_visit(Interposed *engine, uint64_t va)
    Links *links_new(uint64_t nr_frames)
    void links_pte_changed(Interposed *engine, CPUX86State *env, uint64_t table, unsigned index, uint64_t old,
                           uint64_t new)
    void links_root_changed(Interposed *engine, uint64_t old, uint64_t new)
    void links_flush(Interposed *engine)
    uint64_t links_made(Links *links)
    uint32_t cpu_cc_compute_all_x86_64(CPUX86State *env, int op)
    int cpu_exec_x86_64(uc_engine *uc, void *cpu)
    void tlb_flush_x86_64(void *cpu)
    void tlb_flush_page_x86_64(void *cpu, uint64_t va)
    void tb_invalidate_phys_range_x86_64(uc_engine *uc, uint64_t start, uint64_t end)
    void cpu_x86_update_cr4_x86_64(CPUX86State *env, uint32_t value)
    void cpu_x86_update_dr7_x86_64(CPUX86State *env, uint32_t value)

cdef extern from *:
    """
    #include <x86intrin.h>
    #define POINTER_AT(object, offset) FIELD(object, offset, void *)
    """
    void *POINTER_AT(void *object, int offset) nogil
    void STOP_TRANSLATED(void *cpu) nogil
    bint STOP_REQUESTED(void *cpu) nogil
    uint64_t __rdtsc() nogil

cdef extern from *:
    """
    static inline void put_byte(void *object, int offset, uint8_t value) { FIELD(object, offset, uint8_t) = value; }
    static inline void put_int(void *object, int offset, int32_t value) { FIELD(object, offset, int32_t) = value; }
    static inline void put_pointer(void *object, int offset, void *value) { FIELD(object, offset, void *) = value; }
    """
    void put_byte(void *object, int offset, uint8_t value) nogil
    void put_int(void *object, int offset, int32_t value) nogil
    void put_pointer(void *object, int offset, void *value) nogil
