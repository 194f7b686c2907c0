"""One vcpu of a small domain on a processor that runs nothing: for tests of what the core does at an exit.

Guest memory, by address:

    USER        16 pages, for user mode too, in the lower half
    KERNEL      16 pages of the kernel's
    TABLES      read-only: the kernel's L4, L3, L2 and L1 of KERNEL, then the L1 itself is at TABLES + 3 pages
    READ_ONLY   one page of the kernel's that is not writable
"""

from collections.abc import Sequence
from typing import Any

cimport cython
from libc.stdint cimport int64_t, uint64_t

from xenia.cpu.context cimport CONTEXT_FLAGS, CONTEXT_SEGMENTS, Context
from xenia.cpu.processor cimport LEAVE
from xenia.domain.crash cimport crash_report
from xenia.domain.create cimport domain_create, domain_destroy, vcpu_create
from xenia.domain.directory cimport domain_leave
from xenia.domain.domain cimport Domain, Vcpu
from xenia.domain.pv.mode cimport switch_mode
from xenia.domain.pv.traps cimport (
    deliver_pending, general_protection, hypercall_iret, inject_exception, invalid_opcode, page_fault, soft_interrupt,
    syscall_from_user,
)
from xenia.hypercalls.table cimport HYPERCALL_CONTINUE, guest_pv64, hypercall_fn
from xenia.hypercalls.traps cimport (
    do_callback_op, do_fpu_taskswitch, do_get_debugreg, do_nmi_op, do_set_callbacks, do_set_debugreg,
    do_set_segment_base, do_set_trap_table, do_stack_switch,
)
from xenia.machine.machine cimport (
    FRAME_L1, FRAME_L4, FRAME_SEG_DESC, FRAME_VALIDATED, FRAME_WRITABLE, MachineMemory, machine_alloc,
)
from xenia.mm.pv.descriptors cimport set_gdt, set_ldt
from xenia.testing.recorder cimport RecordingProcessor, RecordingState

USER = 0x400000
KERNEL = 0xffff888000000000
TABLES = 0xffff888000018000
READ_ONLY = 0xffff888000020000
DOMID = 1

_REGISTERS = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
              "r15")


@cython.no_gc_clear     # its end needs the machine's memory
cdef class StillVcpu:
    """The vcpu, in kernel mode at KERNEL with its stack at the end of KERNEL, events masked, nothing registered.

    It is number `id` of its domain, which has no others but those before it.
    """

    cdef Domain *domain
    cdef Vcpu *vcpu
    cdef RecordingProcessor recorder
    cdef list recorders     # of all its domain's vcpus
    cdef MachineMemory memory
    cdef dict tables

    def __cinit__(self, id: int = 0):
        self.memory = MachineMemory(1 << 20)
        self.recorder = RecordingProcessor()
        self.recorder.attach(self.memory.machine)
        self.recorders = [self.recorder]
        if domain_create(&self.domain, self.memory.machine, NULL, DOMID, guest_pv64(), &self.recorder.state.processor):
            raise MemoryError
        for _ in range(id):
            self.recorder = RecordingProcessor()
            self.recorder.attach(self.memory.machine)
            self.recorders.append(self.recorder)
            if vcpu_create(self.domain, &self.recorder.state.processor) == NULL:
                raise MemoryError
        self.vcpu = self.domain.vcpus[<int>id]

    def __dealloc__(self):
        # The counts of its page tables are made up, so none is put: they stay, as if others held them.
        if self.domain != NULL:
            self.vcpu.mmu.root_kernel = self.vcpu.mmu.root_user = 0
            with nogil:
                domain_destroy(self.domain)
            domain_leave(self.domain)

    def __init__(self, id: int = 0) -> None:
        cdef Vcpu *vcpu = self.vcpu
        self.tables = {}
        vcpu.mmu.root_kernel = self.frame(FRAME_L4)
        vcpu.mmu.root_user = self.frame(FRAME_L4)
        vcpu.mmu.root_loaded = vcpu.mmu.root_kernel
        for page in range(16):
            self.map(KERNEL + (page << 12), self.frame(FRAME_WRITABLE), 0x63)
            self.map(USER + (page << 12), self.frame(FRAME_WRITABLE), 0x67)
        self.map(READ_ONLY, self.frame(0), 0x61)
        self.words(vcpu.mmu.root_user)[0] = self.words(vcpu.mmu.root_kernel)[0]
        for n, key in enumerate([(4, 0), (3, KERNEL >> 39), (2, KERNEL >> 30), (1, KERNEL >> 21)]):
            self.map(TABLES + (n << 12), vcpu.mmu.root_kernel if n == 0 else self.tables[key], 0x61)
        vcpu.context.rip = KERNEL
        vcpu.context.gpr[4] = KERNEL + 0x10000
        vcpu.context.rflags = 0x202
        vcpu.context.cs = 0xe033
        vcpu.context.ss = 0xe02b
        vcpu.context.kernel = True
        vcpu.traps.kernel_sp = KERNEL + 0x8000

    cdef uint64_t *words(self, uint64_t mfn):
        return <uint64_t *>(self.memory.machine.base + (mfn << 12))

    cdef uint64_t frame(self, int kind):
        cdef uint64_t mfn = machine_alloc(self.memory.machine, DOMID)
        self.memory.machine.frames[mfn].type = kind
        self.memory.machine.frames[mfn].type_refs = 1 if kind else 0
        self.memory.machine.frames[mfn].refs = 2
        if FRAME_L1 <= kind <= FRAME_SEG_DESC:
            self.memory.machine.frames[mfn].flags |= FRAME_VALIDATED
        return mfn

    cdef map(self, uint64_t va, uint64_t mfn, uint64_t flags):
        table = self.vcpu.mmu.root_kernel
        for level in (4, 3, 2):
            index = va >> (12 + 9 * (level - 1)) & 511
            key = (level - 1, va >> (12 + 9 * (level - 1)))
            if key not in self.tables:
                self.tables[key] = self.frame(FRAME_L1 + level - 2)
                self.words(table)[<uint64_t>index] = self.tables[key] << 12 | 0x67
            table = self.tables[key]
        self.words(table)[va >> 12 & 511] = mfn << 12 | flags

    cdef uint64_t maddr(self, uint64_t va):
        cdef uint64_t table = self.vcpu.mmu.root_kernel
        cdef uint64_t entry
        for shift in (39, 30, 21, 12):
            entry = self.words(table)[va >> <int>shift & 511]
            if not entry & 1:
                raise KeyError(hex(va))
            table = entry >> 12 & <uint64_t>0xffffffffff
        return table << 12 | va & 0xfff

    # --- memory

    def read(self, va: int, length: int) -> bytes:
        """Guest memory at `va`, whatever its rights."""
        return bytes(self.memory.machine.base[self.maddr(va + i)] for i in range(length))

    def write(self, va: int, data: bytes) -> None:
        """Put `data` at `va`, whatever its rights."""
        for i, byte in enumerate(data):
            self.memory.machine.base[self.maddr(va + i)] = byte

    def map_page(self, va: int, flags: int, mfn: int | None = None) -> int:
        """Map a frame (a fresh one of the domain's) at `va`; its number."""
        number = self.frame(FRAME_WRITABLE if flags & 2 else 0) if mfn is None else mfn
        self.map(va, number, flags)
        return number

    def unmap(self, va: int) -> None:
        """Take the page at `va` away."""
        self.maddr(va)
        self.words(self.tables[1, va >> 21])[<uint64_t>va >> 12 & 511] = 0

    def entry_address(self, va: int) -> int:
        """Where in TABLES the L1 entry of a KERNEL address is."""
        return TABLES + 0x3000 + (va >> 12 & 511) * 8

    def set_gdt(self, descriptors: Sequence[int]) -> None:
        """These descriptors (entry 0 first) become the guest's GDT, unchecked."""
        cdef uint64_t mfn = self.frame(0)
        if set_gdt(&self.domain.mmu, &self.vcpu.mmu, &mfn, len(descriptors)):
            raise ValueError(descriptors)
        for i, descriptor in enumerate(descriptors):
            self.words(mfn)[<uint64_t>i] = descriptor

    def set_ldt(self, va: int, entries: int) -> None:
        """MMUEXT_SET_LDT."""
        if set_ldt(&self.domain.mmu, &self.vcpu.mmu, va, entries):
            raise ValueError(va)

    def split_roots(self) -> None:
        """Make the user L4 differ from the kernel's in its lower half."""
        self.words(self.vcpu.mmu.root_user)[5] = 0x1000
        self.domain.mmu.l4_changes += 1

    def share_with_user(self, va: int) -> None:
        """The user L4's slot of `va` becomes the kernel's."""
        self.words(self.vcpu.mmu.root_user)[<uint64_t>va >> 39 & 511] = self.words(self.vcpu.mmu.root_kernel)[
            <uint64_t>va >> 39 & 511]

    # --- registers

    def __getitem__(self, name: str) -> int:
        cdef Context *context = &self.vcpu.context
        if name in _REGISTERS:
            return context.gpr[<int>_REGISTERS.index(name)]
        return {"rip": context.rip, "rflags": context.rflags, "cs": context.cs, "ss": context.ss}[name]

    def __setitem__(self, name: str, uint64_t value) -> None:
        cdef Context *context = &self.vcpu.context
        if name in _REGISTERS:
            context.gpr[<int>_REGISTERS.index(name)] = value
        elif name == "rip":
            context.rip = value
        elif name == "rflags":
            context.rflags = value
        elif name == "cs":
            context.cs = value
        elif name == "ss":
            context.ss = value
        else:
            raise KeyError(name)

    def registers(self) -> dict[str, int]:
        """All general registers, rip, rflags, cs and ss."""
        return {name: self[name] for name in (*_REGISTERS, "rip", "rflags", "cs", "ss")}

    @property
    def kernel(self) -> bool:
        """Whether the vcpu is in kernel mode."""
        return bool(self.vcpu.context.kernel)

    @property
    def dirty(self) -> set[str]:
        """What the core says it changed: any of "flags", "segments"; reading clears it."""
        dirty = {name for bit, name in ((CONTEXT_FLAGS, "flags"), (CONTEXT_SEGMENTS, "segments"))
                 if self.vcpu.context.dirty & bit}
        self.vcpu.context.dirty = 0
        return dirty

    def go_user(self) -> None:
        """Into user mode, at USER with the stack at the end of USER."""
        switch_mode(self.vcpu, False)
        self["rip"] = USER
        self["rsp"] = USER + 0x10000
        self.vcpu.context.dirty = 0

    # --- vcpu_info and vcpu state

    @property
    def upcall_mask(self) -> int:
        """vcpu_info.evtchn_upcall_mask."""
        return self.vcpu.info.evtchn_upcall_mask

    @upcall_mask.setter
    def upcall_mask(self, value: int) -> None:
        self.vcpu.info.evtchn_upcall_mask = value

    @property
    def upcall_pending(self) -> int:
        """vcpu_info.evtchn_upcall_pending."""
        return self.vcpu.info.evtchn_upcall_pending

    @upcall_pending.setter
    def upcall_pending(self, value: int) -> None:
        self.vcpu.info.evtchn_upcall_pending = value

    @property
    def cr2(self) -> int:
        """vcpu_info.arch.cr2."""
        return self.vcpu.info.arch.cr2

    @property
    def iopl(self) -> int:
        """The virtual IOPL."""
        return self.vcpu.ports.iopl

    @iopl.setter
    def iopl(self, value: int) -> None:
        self.vcpu.ports.iopl = value

    def set_vm_assist(self, bits: int) -> None:
        """The domain's vm_assist bits."""
        self.domain.vm_assist = bits

    def allow_table_writes(self) -> None:
        """The domain's writable_pagetables assist."""
        self.domain.mmu.writable_pagetables = True

    def set_port_bitmap(self, va: int, ports: int) -> None:
        """As PHYSDEVOP_set_iobitmap."""
        self.vcpu.ports.iobmp_va = va
        self.vcpu.ports.iobmp_limit = ports

    def set_roots(self, user: int) -> None:
        """mfn of the user L4."""
        self.vcpu.mmu.root_user = user

    def raise_nmi(self) -> None:
        """Make an NMI pending."""
        self.vcpu.traps.nmi_pending = True

    @property
    def nmi_masked(self) -> bool:
        """Whether an NMI is being handled."""
        return bool(self.vcpu.traps.nmi_masked)

    @property
    def crash(self) -> str | None:
        """Why the domain crashed, None if it has not."""
        return None if self.domain.life.shutdown < 0 else self.domain.life.crash_reason.decode()

    def crash_report(self) -> list[str]:
        """crash_report: what the log gets, line by line."""
        return crash_report(self.domain)

    def add_vcpu(self) -> RecordingProcessor:
        """One vcpu more, down; its processor."""
        recorder = RecordingProcessor()
        (<RecordingProcessor>recorder).attach(self.memory.machine)
        if vcpu_create(self.domain, &(<RecordingProcessor>recorder).state.processor) == NULL:
            raise ValueError("there can be no vcpu more")
        self.recorders.append(recorder)     # the domain's end needs it
        return recorder

    @property
    def processor(self) -> dict[str, Any]:
        """What the processor was told."""
        cdef RecordingState *state = &self.recorder.state
        return {"fs_base": state.inside.segments[4].base, "gs_base": state.inside.segments[5].base,
                "gs": state.inside.selectors[5],
                "root": "user" if state.inside.root == self.vcpu.mmu.root_user else "kernel",
                "root_loads": state.nr_root_loads, "ts": bool(state.inside.ts), "cr4": state.inside.cr4,
                "dr": list(state.inside.dr), "gdt": (state.inside.gdt.base, state.inside.gdt.limit),
                "ldt": (state.inside.ldt.base, state.inside.ldt.limit)}

    def set_segment(self, sreg: int, selector: int, base: int) -> None:
        """The guest loaded a segment register by itself."""
        self.recorder.state.inside.selectors[<int>sreg] = selector
        self.recorder.state.inside.segments[<int>sreg].base = base

    def set_tsc(self, value: int) -> None:
        """The processor's time-stamp counter."""
        self.recorder.state.inside.tsc_offset = value

    @property
    def root_kernel(self) -> int:
        """mfn of the kernel's L4."""
        return self.vcpu.mmu.root_kernel

    @property
    def gs_bases(self) -> tuple[int, int]:
        """(kernel, user), as kept in the vcpu."""
        return self.vcpu.control.gs_base_kernel, self.vcpu.control.gs_base_user

    # --- exits: True where the vcpu goes on

    def inject(self, vector: int, error: int = 0, address: int = 0) -> bool:
        """inject_exception."""
        return inject_exception(self.vcpu, vector, error, address) != LEAVE

    def page_fault(self, error: int, va: int) -> bool:
        """page_fault."""
        return page_fault(self.vcpu, error, va) != LEAVE

    def general_protection(self, error: int = 0) -> bool:
        """general_protection."""
        return general_protection(self.vcpu, error) != LEAVE

    def invalid_opcode(self) -> bool:
        """invalid_opcode."""
        return invalid_opcode(self.vcpu) != LEAVE

    def soft_interrupt(self, vector: int) -> bool:
        """soft_interrupt."""
        return soft_interrupt(self.vcpu, vector) != LEAVE

    def syscall(self) -> bool:
        """syscall_from_user."""
        return syscall_from_user(self.vcpu, False) != LEAVE

    def sysenter(self) -> bool:
        """syscall_from_user, by sysenter."""
        return syscall_from_user(self.vcpu, True) != LEAVE

    def iret(self) -> bool:
        """hypercall_iret."""
        return hypercall_iret(self.vcpu) != LEAVE

    def deliver_pending(self) -> bool:
        """deliver_pending."""
        return deliver_pending(self.vcpu) != LEAVE

    def hypercall(self, name: str, *arguments: int) -> int:
        """A hypercall of hypercalls/traps by name; its result."""
        cdef hypercall_fn handler
        cdef uint64_t args[6]
        cdef int64_t result
        if name == "set_trap_table":
            handler = do_set_trap_table
        elif name == "set_callbacks":
            handler = do_set_callbacks
        elif name == "callback_op":
            handler = do_callback_op
        elif name == "nmi_op":
            handler = do_nmi_op
        elif name == "stack_switch":
            handler = do_stack_switch
        elif name == "fpu_taskswitch":
            handler = do_fpu_taskswitch
        elif name == "set_debugreg":
            handler = do_set_debugreg
        elif name == "get_debugreg":
            handler = do_get_debugreg
        elif name == "set_segment_base":
            handler = do_set_segment_base
        else:
            raise KeyError(name)
        for i in range(6):
            args[<int>i] = arguments[i] if i < len(arguments) else 0
        while True:
            result = handler(self.vcpu, args)
            if result != HYPERCALL_CONTINUE:
                return result
