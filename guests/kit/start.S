/* Entry, Xen notes, and the way in and out of the kernel: bounce frames, iret, and a round trip through user mode. */

#define __HYPERVISOR_iret 23

.macro note type, kind, value:vararg
    .pushsection .note.Xen, "a", @note
    .balign 4
    .long 4, 2f - 1f, \type
    .asciz "Xen"
1:  \kind \value
2:  .balign 4
    .popsection
.endm

    note 6, .asciz, "tiny"                      /* GUEST_OS */
    note 7, .asciz, "1"                         /* GUEST_VERSION */
    note 5, .asciz, "xen-3.0"                   /* XEN_VERSION */
    note 8, .asciz, "generic"                   /* LOADER */
    note 9, .asciz, "yes"                       /* PAE_MODE */
    note 3, .quad, 0xffffffff80000000           /* VIRT_BASE */
    note 4, .quad, 0                            /* PADDR_OFFSET */
    note 1, .quad, start                        /* ENTRY */
    note 10, .asciz, "!writable_page_tables"    /* FEATURES */

    .section .text.start, "ax"
    .globl start
start:
    cld
    lea stack_top(%rip), %rsp
    xor %ebp, %ebp
    mov %rsi, %rdi                              /* start_info */
    call kit_start
    ud2

    .bss
    .balign 4096
    .skip 32768
    .globl stack_top
stack_top:
    .skip 16384
    .globl user_entry_stack
user_entry_stack:                               /* where traps from user mode begin */

    .text
/* A bounce frame starts with rcx and r11; then the error code where the vector has one; then rip, cs, rflags, rsp, ss.
 * Each stub turns that into `vector, error, rip, ...` and the common path pushes the registers below: struct frame. */
.macro plain_entry name, number
    .globl \name
\name:
    mov (%rsp), %rcx
    mov 8(%rsp), %r11
    movq $0, 8(%rsp)
    movq $\number, (%rsp)
    jmp common
.endm
.macro error_entry name, number
    .globl \name
\name:
    mov (%rsp), %rcx
    mov 8(%rsp), %r11
    add $8, %rsp
    movq $\number, (%rsp)
    jmp common
.endm

.macro vectors from, to
    .if (\from == 8) || ((\from >= 10) && (\from <= 14)) || (\from == 17) || (\from == 21)
    error_entry trap_\from, \from
    .else
    plain_entry trap_\from, \from
    .endif
    .pushsection .rodata.vectors, "a"
    .quad trap_\from
    .popsection
    .if \to - \from
    vectors "(\from + 1)", \to
    .endif
.endm

    .pushsection .rodata.vectors, "a"
    .balign 8
    .globl trap_stubs
trap_stubs:
    .popsection
.altmacro
.macro one n
    vectors \n, \n
.endm
.set i, 0
.rept 32
    one %i
    .set i, i + 1
.endr
.noaltmacro

    plain_entry trap_128, 128                   /* for int $0x80 and int $0x81 */
    plain_entry trap_129, 129
    plain_entry event_entry, 0x100
    plain_entry syscall_entry, 0x101
    plain_entry syscall32_entry, 0x102
    plain_entry sysenter_entry, 0x103
    plain_entry nmi_entry, 0x104

    .globl failsafe_entry                       /* rcx, r11, ds, es, fs, gs, then rip ... */
failsafe_entry:
    mov 16(%rsp), %rcx
    mov %rcx, failsafe_selectors(%rip)
    mov 24(%rsp), %rcx
    mov %rcx, failsafe_selectors + 8(%rip)
    mov 32(%rsp), %rcx
    mov %rcx, failsafe_selectors + 16(%rip)
    mov 40(%rsp), %rcx
    mov %rcx, failsafe_selectors + 24(%rip)
    mov (%rsp), %rcx
    mov 8(%rsp), %r11
    add $32, %rsp
    movq $0, 8(%rsp)
    movq $0x105, (%rsp)
    jmp common

common:
    push %rdi
    push %rsi
    push %rbp
    push %rbx
    push %rdx
    push %rcx
    push %rax
    push %r8
    push %r9
    push %r10
    push %r11
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, %rdi
    cld
    call trap
    .globl restore
restore:                                        /* rsp at a struct frame */
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rax
    pop %rcx
    pop %rdx
    pop %rbx
    pop %rbp
    pop %rsi
    pop %rdi
    add $8, %rsp                                /* vector; the error code's place takes the iret flags */
    push %rcx
    push %r11
    push %rax
    movq iret_flags(%rip), %rax
    mov %rax, 24(%rsp)
    mov $__HYPERVISOR_iret, %eax
    syscall
    ud2

/* void user_enter(struct frame *frame): continue user mode there; user_leave comes back after the call. */
    .globl user_enter
user_enter:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, user_return(%rip)
    mov %rdi, %rsp
    jmp restore
    .globl user_leave
user_leave:
    mov user_return(%rip), %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret

    .section .note.GNU-stack, "", @progbits
