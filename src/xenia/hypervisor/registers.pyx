"""A vcpu's registers, as whoever looks into a domain from outside reads and writes them: all that its guest sees.

What is written is put right as an iret or a hypercall of the guest's would have it: flags that are not the guest's own
stay as they are, addresses are canonical, selectors can be loaded.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from xenia.cpu.context cimport (
    CONTEXT_FLAGS, EFLAGS_GUEST, SREG_DS, SREG_ES, SREG_FS, SREG_GS, STATE_FPU, STATE_GENERAL, STATE_SEGMENTS, Context,
    SegmentDescriptor,
)
from xenia.domain.domain cimport Domain, Vcpu
from xenia.domain.pv.control cimport control_read, debugreg_read
from xenia.domain.pv.segments cimport data_segment_held, is_canonical
from xenia.hypervisor.domain cimport DomainHandle
from xenia.machine.lock cimport lock, unlock

from xenia.errors import ConfigError

GENERAL: tuple[str, ...] = (
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15")
SELECTORS: tuple[str, ...] = ("es", "cs", "ss", "ds", "fs", "gs")
_DATA = {"es": SREG_ES, "ds": SREG_DS, "fs": SREG_FS, "gs": SREG_GS}
_FXSAVE_BYTES = 464         # of 512: what follows is software's
_MXCSR_AT = 24
_MXCSR_BITS = 0xffff


cdef inline Vcpu *vcpu_of(DomainHandle handle, int number) except NULL:
    if not 0 <= number < handle.max_vcpus:
        raise IndexError(f"the domain has no vcpu {number}")
    return handle.domain.vcpus[number]


def read(DomainHandle handle, number: int) -> dict[str, int]:
    """All but the FPU's, by name: GENERAL, rip, rflags, SELECTORS, fs_base, gs_base, k_gs_base (the one that swapgs
    would bring), cr0 to cr4, dr0 to dr7, and kernel (1 in kernel mode).  Precondition: the vcpu does not run.

    cr3 is the kernel's root, as the guest reads it; IOPL is the guest's.
    """
    cdef Vcpu *vcpu = vcpu_of(handle, number)
    cdef Context *context = &vcpu.context
    cdef uint64_t value
    cdef int i
    vcpu.processor.ops.pull(vcpu.processor, STATE_GENERAL | STATE_SEGMENTS)
    found = {name: context.gpr[i] for i, name in enumerate(GENERAL)}
    found["rip"] = context.rip
    found["rflags"] = context.rflags | <uint64_t>vcpu.ports.iopl << 12
    found |= {name: context.selectors[i] for i, name in enumerate(SELECTORS)}
    found["cs"], found["ss"] = context.cs, context.ss
    found["fs_base"] = context.segments[<int>SREG_FS].base
    found["gs_base"] = context.segments[<int>SREG_GS].base
    found["k_gs_base"] = vcpu.control.gs_base_user if context.kernel else vcpu.control.gs_base_kernel
    for i in (0, 2, 3, 4):
        control_read(vcpu, i, &value)
        found[f"cr{i}"] = value
    for i in (0, 1, 2, 3, 6, 7):
        debugreg_read(vcpu, i, &value)
        found[f"dr{i}"] = value
    found["kernel"] = context.kernel
    return found


def read_fpu(DomainHandle handle, number: int) -> bytes:
    """FPU and SSE registers, as fxsave64 stores them: 512 bytes.  Precondition: the vcpu does not run."""
    cdef Vcpu *vcpu = vcpu_of(handle, number)
    vcpu.processor.ops.pull(vcpu.processor, STATE_FPU)
    return bytes(vcpu.context.fpu[:512])


def write(DomainHandle handle, number: int, values: dict[str, int]) -> None:
    """Write registers by name: GENERAL, rip, rflags, es, ds, fs, gs and the bases.  All of them, or none.
    Precondition: the vcpu does not run.

    ConfigError where there is no such register, or it does not take the value.
    """
    cdef Vcpu *vcpu = vcpu_of(handle, number)
    cdef Context *context = &vcpu.context
    cdef SegmentDescriptor descriptors[6]
    cdef int sreg
    for name, value in values.items():
        if not 0 <= value < 1 << 64:
            raise ConfigError(f"register {name} has 64 bits, and takes no {value:#x}")
        if name in ("rip", "fs_base", "gs_base", "k_gs_base") and not is_canonical(value):
            raise ConfigError(f"register {name} takes canonical addresses only, not {value:#x}")
        if name in _DATA:
            if not find_data(vcpu, value, &descriptors[<int>_DATA[name]]):
                raise ConfigError(f"register {name} cannot be loaded with {value:#x}: no such segment of the guest's")
        elif name not in GENERAL and name not in _WRITERS:
            raise ConfigError(f"there is no register {name} that can be written")
    vcpu.processor.ops.pull(vcpu.processor, STATE_GENERAL)
    for name, value in values.items():
        if name in _DATA:
            sreg = _DATA[name]
            vcpu.processor.ops.set_segment(vcpu.processor, sreg, value | 3 if value > 3 else value, &descriptors[sreg])
    for name, value in values.items():
        if name in GENERAL:
            context.gpr[<int>GENERAL.index(name)] = value
        elif name not in _DATA:
            write_one(vcpu, name, value)


_WRITERS = frozenset({"rip", "rflags", "fs_base", "gs_base", "k_gs_base"})


cdef write_one(Vcpu *vcpu, str name, uint64_t value):
    cdef Context *context = &vcpu.context
    if name == "rip":
        context.rip = value
        context.after_ss = 0
    elif name == "rflags":
        context.rflags = context.rflags & ~<uint64_t>EFLAGS_GUEST | value & EFLAGS_GUEST
        context.dirty |= CONTEXT_FLAGS
        vcpu.ports.iopl = value >> 12 & 3
    elif name == "fs_base":
        vcpu.processor.ops.set_segment_base(vcpu.processor, SREG_FS, value)
    elif name == "gs_base":
        vcpu.processor.ops.set_segment_base(vcpu.processor, SREG_GS, value)
    elif context.kernel:
        vcpu.control.gs_base_user = value
    else:
        vcpu.control.gs_base_kernel = value


cdef bint find_data(Vcpu *vcpu, uint64_t selector, SegmentDescriptor *descriptor) noexcept:
    cdef Domain *domain = vcpu.domain
    cdef bint found
    if selector >> 16:
        return False
    with nogil:
        lock(&domain.memory.lock)
        found = not domain.life.is_dying and data_segment_held(
            vcpu, <uint16_t>(selector | 3 if selector > 3 else selector), descriptor)
        unlock(&domain.memory.lock)
    return found


def write_fpu(DomainHandle handle, number: int, area: bytes) -> None:
    """The same, from what fxrstor64 would load.  Precondition: the vcpu does not run.

    ConfigError where a processor would refuse it: bits of MXCSR that there are not.
    """
    cdef Vcpu *vcpu = vcpu_of(handle, number)
    cdef const unsigned char *data = area
    cdef uint32_t mxcsr
    if len(area) != 512:
        raise ConfigError("what fxrstor64 loads has 512 bytes")
    memcpy(&mxcsr, data + <int>_MXCSR_AT, sizeof(mxcsr))
    if mxcsr & ~<uint32_t>_MXCSR_BITS:
        raise ConfigError(f"register mxcsr does not take {mxcsr:#x}")
    vcpu.processor.ops.pull(vcpu.processor, STATE_FPU)
    memcpy(vcpu.context.fpu, data, <size_t>_FXSAVE_BYTES)
    vcpu.processor.ops.push(vcpu.processor, STATE_FPU)
