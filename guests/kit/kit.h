/* The kit: what a guest kernel needs before it can do anything worth watching. */
#pragma once
#include "xen.h"

/* --- hypercalls: `syscall` from kernel mode, number in rax, arguments in rdi, rsi, rdx, r10, r8, r9 */
static inline long hypercall6(u64 number, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
    register u64 r10 asm("r10") = d;
    register u64 r8 asm("r8") = e;
    register u64 r9 asm("r9") = f;
    asm volatile("syscall" : "+a"(number), "+D"(a), "+S"(b), "+d"(c), "+r"(r10), "+r"(r8), "+r"(r9)
                 : : "rcx", "r11", "memory");
    return (long)number;
}
#define HYPERCALL_(n, a, b, c, d, e, ...) \
    hypercall6(__HYPERVISOR_##n, (u64)(a), (u64)(b), (u64)(c), (u64)(d), (u64)(e), 0)
/* hypercall(name, up to five arguments) */
#define hypercall(...) HYPERCALL_(__VA_ARGS__, 0, 0, 0, 0, 0)

/* --- what the machine gave us */
extern struct start_info *start_info;
extern struct shared_info *shared_info;
extern struct vcpu_info *vcpu_info;     /* in shared_info until registered elsewhere */
void main(void);                        /* the guest itself; returning powers off */

/* --- words */
void console_start(void);
void console_write(const char *text, u64 length);
int console_read(void);                 /* one character, or -1 */
void console_wait(void);                /* until the console has something to say */
void printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
void shutdown(int reason) __attribute__((noreturn));

void *memset(void *target, int value, u64 length);
void *memcpy(void *target, const void *source, u64 length);
int memcmp(const void *a, const void *b, u64 length);
int strcmp(const char *a, const char *b);
u64 strlen(const char *text);
int starts_with(const char *text, const char *prefix);

/* --- traps */
struct frame {
    u64 r15, r14, r13, r12, r11, r10, r9, r8, rax, rcx, rdx, rbx, rbp, rsi, rdi;
    u64 vector, error, rip, cs, rflags, rsp, ss;
};
enum {
    VECTOR_EVENT = 0x100, VECTOR_SYSCALL, VECTOR_SYSCALL32, VECTOR_SYSENTER, VECTOR_NMI, VECTOR_FAILSAFE,
    VECTOR_NONE = 0xffff,
};
void traps_start(void);
const char *trap_name(u64 vector);
extern char trap_128[], trap_129[], event_entry[], syscall_entry[], syscall32_entry[], sysenter_entry[], nmi_entry[],
    failsafe_entry[];
extern u64 failsafe_selectors[4];       /* ds, es, fs, gs as the failsafe frame brought them */
extern u64 iret_flags;                  /* `flags` of the next iret: VGCF_* */

/* A guest may take a trap itself: return non-zero when it is dealt with. */
extern int (*trap_hook)(struct frame *frame);

/* attempt("insn", : outputs : inputs): run one instruction; `caught` then tells what it raised (VECTOR_NONE:
 * nothing). */
extern struct frame caught;
extern u64 caught_cr2, attempt_at, attempt_next;
#define attempt(instruction, ...) do { \
        caught.vector = VECTOR_NONE; \
        asm volatile("movq $76f, attempt_at\n\tmovq $77f, attempt_next\n76:\t" instruction "\n77:\tmovq $0, attempt_next" \
                     __VA_ARGS__); \
    } while (0)
/* "ok", or "#GP error=0 rip+0": what the last attempt raised, the same on every host. */
const char *outcome(void);

/* --- user mode */
extern char user_entry_stack[];
void user_start(void);                  /* a user address space: one page of code, one of data and stack */
#define USER_CODE 0x400000ul
#define USER_DATA 0x600000ul
void user_load(const void *code, u64 length);
void user_run(struct frame *frame);     /* until its next trap or syscall */
struct frame user_frame(void);          /* ready to run at USER_CODE with a stack at the end of USER_DATA's page */
#define user_code(name, text) \
    extern const char name[], name##_end[]; \
    asm(".pushsection .rodata\n" #name ":\n" text "\n" #name "_end:\n.popsection")
extern u64 user_l4_mfn;

/* --- events and time */
void events_on(void);
void events_off(void);
u32 bind_virq(u32 virq);
u32 bind_ipi(void);
void event_handler(u32 port, void (*handler)(u32 port));
void mask(u32 port);
void unmask(u32 port);
extern volatile struct evtchn_fifo_control_block *fifo_control;     /* a guest's own to set up, with its trap_hook */
extern volatile u32 *fifo_array[128];
static inline volatile u32 *fifo_word(u32 port) { return &fifo_array[port / 1024][port % 1024]; }
void fifo_take(void (*handle)(u32 port));
u64 now(void);                          /* ns of system time, from the pvclock */
u64 wallclock(void);                    /* seconds since the epoch */
static inline u64 rdtsc(void)
{
    u32 low, high;
    asm volatile("rdtsc" : "=a"(low), "=d"(high));
    return low | (u64)high << 32;
}

/* --- further vcpus */
struct vcpu_guest_context *vcpu_context(void (*entry)(void));      /* for VCPUOP_initialise: on a stack of its own */

/* --- memory: pseudo-physical frame n is mapped at VIRT_BASE + n * 4096 */
#define VIRT_BASE 0xffffffff80000000ul
#define PAGE 4096ul
#define PTE_P 1ul
#define PTE_W 2ul
#define PTE_U 4ul
#define PTE_PWT 8ul
#define PTE_PCD 16ul
#define PTE_A 32ul
#define PTE_D 64ul
#define PTE_PSE 128ul
#define PTE_G 256ul
#define PTE_NX (1ul << 63)
#define PTE_FRAME 0x000ffffffffff000ul
#define KERNEL_PTE (PTE_P | PTE_W | PTE_A | PTE_D)
#define USER_PTE (KERNEL_PTE | PTE_U)
void memory_start(void);
static inline u64 pfn_to_mfn(u64 pfn) { return ((u64 *)start_info->mfn_list)[pfn]; }
static inline u64 mfn_to_pfn(u64 mfn) { return MACH2PHYS[mfn]; }
static inline void *pfn_to_virt(u64 pfn) { return (void *)(VIRT_BASE + pfn * PAGE); }
static inline u64 virt_to_pfn(const void *va) { return ((u64)va - VIRT_BASE) / PAGE; }
static inline void *mfn_to_virt(u64 mfn) { return pfn_to_virt(mfn_to_pfn(mfn)); }
static inline u64 virt_to_mfn(const void *va) { return pfn_to_mfn(virt_to_pfn(va)); }
void *page_alloc(void);                 /* a zeroed, mapped, writable page */
u64 *pte_of(u64 va, int level);         /* the entry that maps va at that level, or NULL */
u64 pte_machine(u64 va, int level);     /* its machine address, 0 none */
long pte_set(u64 va, int level, u64 value);
void map_page(u64 va, u64 pte);         /* tables added as needed */
long page_readonly(void *page);
long page_writable(void *page);
long mmuext(u32 cmd, u64 arg1, u64 arg2);
long mmu_update_one(u64 ptr, u64 val);
#define l4_mfn() virt_to_mfn((void *)start_info->pt_base)
