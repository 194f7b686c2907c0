# The registers of a vcpu, all of them, whatever engine runs it.
#
# While guest code runs they are the engine's.  At every exit, and whenever the engine does not run, the first part of
# the Context holds what nearly every exit needs: general registers, rip, flags, the selectors of the ABI.  The rest
# stays where it is until somebody asks for it (ProcessorOps.pull), and goes back when somebody says that it has changed
# (push).
#
#   pull(what)   the engine writes these parts into the Context.  They are true until the vcpu goes on, or one of the
#                processor's set_ operations changes them; the engine remains their owner.
#   push(what)   the engine takes these parts from the Context, whatever it had, as if it had always had them.
#
# What STATE_ALL pulls is all that there is of a vcpu below the core: an engine just made, of any kind, over the same
# memory, that is pushed it goes on indistinguishably.  So a vcpu moves from one engine to another, and so it is saved
# and restored:
#
#     old.ops.pull(old, STATE_ALL)        the vcpu does not run
#     new.context, new.vcpu, new.on_exit = old.context, old.vcpu, old.on_exit
#     new.ops.push(new, STATE_ALL)        after what is different by now was put in: frames (root), tsc_offset
#
# The FPU and SSE registers have one owner as well, the engine: nobody keeps a second copy that could be older.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

# General registers in machine-encoding order.
cdef enum:                  # general registers
    RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15

cdef enum:                  # segment registers in machine-encoding order
    SREG_ES, SREG_CS, SREG_SS, SREG_DS, SREG_FS, SREG_GS

cdef enum:
    CR0_TS = 1 << 3

cdef enum:
    EFLAGS_CF = 1 << 0
    EFLAGS_PF = 1 << 2
    EFLAGS_AF = 1 << 4
    EFLAGS_ZF = 1 << 6
    EFLAGS_SF = 1 << 7
    EFLAGS_TF = 1 << 8
    EFLAGS_IF = 1 << 9
    EFLAGS_DF = 1 << 10
    EFLAGS_OF = 1 << 11
    EFLAGS_IOPL = 3 << 12
    EFLAGS_NT = 1 << 14
    EFLAGS_RF = 1 << 16
    EFLAGS_VM = 1 << 17
    EFLAGS_AC = 1 << 18
    EFLAGS_ID = 1 << 21
    # A guest's own: CF PF AF ZF SF TF DF OF NT RF AC ID.  The rest is forced: IF on, IOPL 0, VM off, bit 1 on.
    EFLAGS_GUEST = 0x254dd5

# What the core changed in the first part of the context, so that an engine writes back no more than that.
cdef enum:
    CONTEXT_FLAGS = 1       # rflags
    CONTEXT_SEGMENTS = 2    # cs/ss selectors or the mode (kernel): engine reloads cs, ss and its privilege level

cdef enum:                  # what pull and push are asked for
    STATE_GENERAL = 1       # the first part, `after_ss` and `held_back`
    STATE_SEGMENTS = 2      # `segments`, and with push the mode (kernel)
    STATE_TABLES = 4        # `gdt`, `ldt`
    STATE_FPU = 8           # `fpu`
    STATE_DEBUG = 16        # `dr`
    STATE_CONTROL = 32      # `ts`, `cr2`, `cr4`, `root`, `root_is_user`
    STATE_TSC = 64          # `tsc_offset`
    STATE_ALL = 127

cdef struct SegmentDescriptor:
    uint64_t base
    uint32_t limit          # in bytes
    uint32_t attributes     # second dword of the descriptor masked with 0x00f0ff00 (type, S, DPL, P, AVL, L, D/B, G)

cdef struct DescriptorTable:
    uint64_t base
    uint32_t limit

cdef struct Context:
    # Valid inside an exit and while the engine is not running.  CS/SS are the selectors as the ABI shows them
    # (0xe033/0xe02b in a 64-bit kernel); `kernel` says which mode the vcpu is in, and alone decides privilege.
    uint64_t gpr[16]
    uint64_t rip
    uint64_t rflags         # IF and IOPL as the processor holds them: IF = 1, IOPL = 0
    uint16_t cs
    uint16_t ss
    uint8_t kernel          # guest kernel mode (engine: ring 1), else guest user mode (ring 3)
    uint8_t dirty           # CONTEXT_*
    # Valid once pulled.
    uint8_t after_ss        # the instruction at rip follows one that loaded SS, and is one with it
    uint8_t held_back       # what loaded SS touched data breakpoints (dr6 bits): the trap is one instruction late
    uint16_t selectors[6]
    SegmentDescriptor segments[6]       # as they were when they were loaded, whatever their tables say by now
    DescriptorTable gdt
    DescriptorTable ldt     # limit 0: none
    uint8_t fpu[512]        # as fxsave64 stores it; from 464 on, which are software's, the selectors of fip and fdp
    uint64_t dr[8]          # in use: dr0 to dr3, dr6, dr7.  What the guest reads there is VcpuControl.dr
    uint64_t cr2            # of the last page fault.  What the guest reads there is VcpuControl.cr2
    uint64_t cr4            # the bits that change execution, as given to set_cr4
    uint64_t root           # frame of the L4 in use
    uint8_t root_is_user    # it is user mode's own: see load_root
    uint8_t ts              # the next use of the FPU raises #NM
    int64_t tsc_offset      # what the guest's counter is ahead of the host's


# Only what is valid at every exit.
cdef inline void context_copy_first_part(Context *to, const Context *source) noexcept nogil:
    memcpy(to, source, <const char *>&source.after_ss - <const char *>source)


# For engines that keep their registers as a Context themselves: what `pull` or `push` is asked for, to the other one.
cdef inline void context_copy_parts(Context *to, const Context *source, int what) noexcept nogil:
    if what & STATE_GENERAL:
        context_copy_first_part(to, source)
        to.after_ss = source.after_ss
        to.held_back = source.held_back
    if what & STATE_SEGMENTS:
        memcpy(to.selectors, source.selectors, sizeof(to.selectors))
        memcpy(to.segments, source.segments, sizeof(to.segments))
    if what & STATE_TABLES:
        to.gdt = source.gdt
        to.ldt = source.ldt
    if what & STATE_FPU:
        memcpy(to.fpu, source.fpu, sizeof(to.fpu))
    if what & STATE_DEBUG:
        memcpy(to.dr, source.dr, sizeof(to.dr))
    if what & STATE_CONTROL:
        to.ts = source.ts
        to.cr2 = source.cr2
        to.cr4 = source.cr4
        to.root = source.root
        to.root_is_user = source.root_is_user
    if what & STATE_TSC:
        to.tsc_offset = source.tsc_offset
