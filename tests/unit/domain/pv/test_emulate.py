"""Privileged instructions and page-table writes done in software, on a vcpu that stands still."""

from __future__ import annotations

import struct
import threading

import pytest

from xenia.domain.build.hypercall_page import hypercall_page
from xenia.testing.decoder import cpuid
from xenia.testing.still_vcpu import KERNEL, READ_ONLY, TABLES, USER, StillVcpu

HANDLER = KERNEL + 0x3000
UD, GP, PF = 6, 13, 14
FS_BASE, GS_BASE, KERNEL_GS_BASE, EFER, HYPERCALL_PAGE = 0xC0000100, 0xC0000101, 0xC0000102, 0xC0000080, 0x40000000


@pytest.fixture
def vcpu() -> StillVcpu:
    vcpu = StillVcpu()
    table = b"".join(struct.pack("<BBHIQ", v, 0, 0, 0, HANDLER + 16 * v) for v in (1, UD, GP, PF)) + bytes(16)
    vcpu.write(KERNEL + 0x7000, table)
    assert vcpu.hypercall("set_trap_table", KERNEL + 0x7000) == 0
    return vcpu


def privileged(vcpu: StillVcpu, code: bytes) -> bool:
    """Let the instruction raise #GP(0): whether it was done, rip then being behind it; else the guest got the #GP."""
    rip = vcpu["rip"]
    vcpu.write(rip, code + b"\x90")
    assert vcpu.general_protection()
    if vcpu["rip"] == rip + len(code):
        return True
    assert vcpu["rip"] == HANDLER + 16 * GP
    return False


def wrmsr(vcpu: StillVcpu, index: int, value: int) -> bool:
    vcpu["rcx"], vcpu["rax"], vcpu["rdx"] = index, value & 0xFFFFFFFF, value >> 32
    return privileged(vcpu, b"\x0f\x30")


def rdmsr(vcpu: StillVcpu, index: int) -> int | None:
    vcpu["rcx"] = index
    return vcpu["rdx"] << 32 | vcpu["rax"] if privileged(vcpu, b"\x0f\x32") else None


# --- control and debug registers


def test_cr0_can_change_in_ts_only(vcpu: StillVcpu) -> None:
    assert privileged(vcpu, b"\x0f\x20\xc3")  # mov %cr0, %rbx
    assert vcpu["rbx"] == 0x80050033
    vcpu["rbx"] |= 8
    assert privileged(vcpu, b"\x0f\x22\xc3")
    assert vcpu.processor["ts"]
    assert privileged(vcpu, b"\x0f\x06")  # clts
    assert not vcpu.processor["ts"]
    vcpu["rbx"] = 0x80040033
    assert not privileged(vcpu, b"\x0f\x22\xc3")


def test_cr2_is_the_one_in_vcpu_info(vcpu: StillVcpu) -> None:
    vcpu["r9"] = 0x1234
    assert privileged(vcpu, b"\x41\x0f\x22\xd1")  # mov %r9, %cr2
    assert vcpu.cr2 == 0x1234


def test_cr3_names_the_kernels_l4_and_takes_l4_tables_only(vcpu: StillVcpu) -> None:
    assert privileged(vcpu, b"\x0f\x20\xd8")
    assert vcpu["rax"] == vcpu.root_kernel << 12
    assert privileged(vcpu, b"\x0f\x22\xd8")
    vcpu["rax"] = vcpu.map_page(KERNEL + 0x100000, 0x63) << 12
    assert not privileged(vcpu, b"\x0f\x22\xd8")


def test_cr4_keeps_xens_bits_and_gives_the_guest_tsd_de_and_fsgsbase(vcpu: StillVcpu) -> None:
    vcpu["rax"] = 0xFFFFFFFF
    assert privileged(vcpu, b"\x0f\x22\xe0")
    assert privileged(vcpu, b"\x0f\x20\xe0")
    assert vcpu["rax"] == 0x1062C
    assert vcpu.processor["cr4"] == 0x1062C


def test_registers_that_do_not_exist_fault(vcpu: StillVcpu) -> None:
    assert not privileged(vcpu, b"\x0f\x20\xc8")  # cr1
    vcpu["rip"] = KERNEL
    assert not privileged(vcpu, b"\x44\x0f\x20\xc0")  # cr8


def test_debug_registers_alias_unless_de_is_set(vcpu: StillVcpu) -> None:
    vcpu["rax"] = 0x401
    assert privileged(vcpu, b"\x0f\x23\xe8")  # mov %rax, %dr5
    assert privileged(vcpu, b"\x0f\x21\xfb")  # mov %dr7, %rbx
    assert vcpu["rbx"] == 0x401
    vcpu["rax"] = 8
    assert privileged(vcpu, b"\x0f\x22\xe0")  # CR4.DE
    vcpu.write(vcpu["rip"], b"\x0f\x23\xe8")
    assert vcpu.general_protection()
    assert vcpu["rip"] == HANDLER + 16 * UD


def test_breakpoints_on_ports_stay_the_guests_own_affair(vcpu: StillVcpu) -> None:
    assert vcpu.hypercall("set_debugreg", 7, 0x00020302) == -1  # EPERM without CR4.DE
    vcpu["rax"] = 8
    assert privileged(vcpu, b"\x0f\x22\xe0")
    assert vcpu.hypercall("set_debugreg", 7, 0x0012020A) == 0
    assert vcpu.hypercall("get_debugreg", 7) == 0x0012060A
    assert vcpu.processor["dr"][7] == 0x00120608


# --- MSRs


@pytest.mark.parametrize(("index", "base"), [(FS_BASE, "fs_base"), (GS_BASE, "gs_base")])
def test_segment_bases_are_loaded_at_once_and_must_be_canonical(vcpu: StillVcpu, index: int, base: str) -> None:
    assert wrmsr(vcpu, index, 0xFFFF888012345678)
    assert vcpu.processor[base] == 0xFFFF888012345678
    assert rdmsr(vcpu, index) == 0xFFFF888012345678
    assert not wrmsr(vcpu, index, 1 << 47)


def test_the_shadow_gs_base_is_that_of_user_mode(vcpu: StillVcpu) -> None:
    assert wrmsr(vcpu, KERNEL_GS_BASE, 0x5000)
    assert vcpu.processor["gs_base"] == 0
    assert rdmsr(vcpu, KERNEL_GS_BASE) == 0x5000
    assert vcpu.gs_bases[1] == 0x5000


def test_unknown_msrs_fault_and_efer_cannot_change(vcpu: StillVcpu) -> None:
    assert rdmsr(vcpu, EFER) == 0xD01
    assert wrmsr(vcpu, EFER, 0xD01)
    assert not wrmsr(vcpu, EFER, 0x501)
    for index in (0xC0000081, 0xC0000082, 0x174, 0xFE, 0x12345678):
        vcpu["rip"] = KERNEL
        assert rdmsr(vcpu, index) is None
        vcpu["rip"] = KERNEL
        assert not wrmsr(vcpu, index, 0)


def test_debugctl_holds_what_it_does_after_reset_and_cannot_be_written(vcpu: StillVcpu) -> None:
    assert rdmsr(vcpu, 0x1D9) == 0
    assert not wrmsr(vcpu, 0x1D9, 0)


def test_counters_take_anything_and_count_nothing(vcpu: StillVcpu) -> None:
    for index in (0xC1, 0x186, 0x309, 0x390, 0x29F, 0x47F):
        assert wrmsr(vcpu, index, 2**64 - 1)
        assert rdmsr(vcpu, index) == 0


def test_the_hypercall_page_is_written_where_its_msr_says(vcpu: StillVcpu) -> None:
    mfn = vcpu.map_page(KERNEL + 0x100000, 0x63)
    assert wrmsr(vcpu, HYPERCALL_PAGE, mfn << 12)
    page = vcpu.read(KERNEL + 0x100000, 4096)
    assert page == hypercall_page()
    assert page[32 * 17 :].startswith(b"\x51\x41\x53\xb8\x11\0\0\0\x0f\x05\x41\x5b\x59\xc3\xcc")
    assert page[32 * 23 :].startswith(b"\x51\x41\x53\x50\xb8\x17\0\0\0\x0f\x05\xcc")
    assert not wrmsr(vcpu, HYPERCALL_PAGE, mfn << 12 | 1)
    vcpu["rip"] = KERNEL
    assert not wrmsr(vcpu, HYPERCALL_PAGE, vcpu.root_kernel << 12)  # a page table is not the guest's to write


# --- ports, cli, sti


@pytest.mark.parametrize("code", [b"\xe4\x60", b"\xec", b"\xe6\x80", b"\xee", b"\x6c", b"\x6e", b"\xfa", b"\xfb"])
def test_ports_and_the_interrupt_flag_need_iopl(vcpu: StillVcpu, code: bytes) -> None:
    vcpu["rdi"] = vcpu["rsi"] = KERNEL + 0x5000
    assert not privileged(vcpu, code)
    vcpu["rip"] = KERNEL
    vcpu.iopl = 1
    assert privileged(vcpu, code)
    assert vcpu.upcall_mask == 1
    vcpu.go_user()
    assert not privileged(vcpu, code)
    vcpu.go_user()
    vcpu.iopl = 3
    vcpu["rdi"] = vcpu["rsi"] = USER + 0x5000
    assert privileged(vcpu, code)


@pytest.mark.parametrize(
    ("code", "rax"),
    [
        (b"\xec", 0x11223344556677FF),
        (b"\x66\xed", 0x112233445566FFFF),
        (b"\xed", 0xFFFFFFFF),
    ],
)
def test_no_device_answers(vcpu: StillVcpu, code: bytes, rax: int) -> None:
    vcpu.iopl = 1
    vcpu["rax"], vcpu["rdx"] = 0x1122334455667788, 0x60
    assert privileged(vcpu, code)
    assert vcpu["rax"] == rax


@pytest.mark.parametrize("code", [b"\x6e", b"\x6c"])
def test_a_string_of_ports_at_what_is_not_canonical_is_no_page_fault(vcpu: StillVcpu, code: bytes) -> None:
    vcpu.iopl = 1
    vcpu["rdi"] = vcpu["rsi"] = 1 << 63
    vcpu.write(KERNEL, code)
    assert vcpu.general_protection()
    assert vcpu["rip"] == HANDLER + 16 * GP


def test_the_pci_address_port_remembers(vcpu: StillVcpu) -> None:
    vcpu.iopl = 1
    vcpu["rax"], vcpu["rdx"] = 0x80001234, 0xCF8
    assert privileged(vcpu, b"\xef")
    vcpu["rax"] = 0
    assert privileged(vcpu, b"\xed")
    assert vcpu["rax"] == 0x80001234


def test_the_port_bitmap_opens_single_ports(vcpu: StillVcpu) -> None:
    vcpu.write(KERNEL + 0x6000, b"\xff" * 12 + b"\xfd")
    vcpu.set_port_bitmap(KERNEL + 0x6000, 0x68)
    vcpu["rdx"] = 0x61
    assert privileged(vcpu, b"\xec")
    assert not privileged(vcpu, b"\x66\xed")
    vcpu["rip"], vcpu["rdx"] = KERNEL, 0x68
    assert not privileged(vcpu, b"\xec")


def test_a_string_of_ports_goes_round_by_round_and_may_fault(vcpu: StillVcpu) -> None:
    vcpu.iopl = 1
    vcpu["rcx"], vcpu["rdx"], vcpu["rdi"] = 2, 0x60, KERNEL + 0x5000
    vcpu.write(KERNEL, b"\xf3\x6c")
    for left in (1, 0):
        assert vcpu.general_protection()
        assert (vcpu["rcx"], vcpu["rip"]) == (left, KERNEL if left else KERNEL + 2)
    assert vcpu.read(KERNEL + 0x5000, 3) == b"\xff\xff\0"
    vcpu["rip"], vcpu["rcx"], vcpu["rdi"] = KERNEL, 1, 0x123456
    assert vcpu.general_protection()
    assert vcpu["rip"] == HANDLER + 16 * PF
    assert vcpu.cr2 == 0x123456


def test_every_processor_forgets_code_that_xen_wrote_over(vcpu: StillVcpu) -> None:
    other = vcpu.add_vcpu()
    mfn = vcpu.map_page(KERNEL + 0x100000, 0x63)
    assert wrmsr(vcpu, HYPERCALL_PAGE, mfn << 12)
    assert other.notes[-1] == ("code_dirty", mfn << 12, 4096)
    other.forget()
    vcpu.iopl = 1
    vcpu["rip"], vcpu["rdx"], vcpu["rdi"] = KERNEL, 0x60, KERNEL + 0x100123
    vcpu.write(KERNEL, b"\x6c")
    assert vcpu.general_protection()
    assert other.notes == [("code_dirty", mfn << 12 | 0x123, 1)]


# --- the rest


@pytest.mark.parametrize("code", [b"\xf4", b"\x0f\x08", b"\x0f\x01\x38", b"\x0f\x01\xf8", b"\x0f\x33", b"\x0f\x01\x10"])
def test_what_xen_does_not_emulate_faults(vcpu: StillVcpu, code: bytes) -> None:
    assert not privileged(vcpu, code)


def test_user_mode_gets_its_faults(vcpu: StillVcpu) -> None:
    for code in (b"\x0f\x20\xc0", b"\x0f\x32", b"\x0f\x09", b"\x0f\x31"):
        vcpu.go_user()
        assert not privileged(vcpu, code)


def test_a_fault_with_a_selector_is_never_an_instruction_to_emulate(vcpu: StillVcpu) -> None:
    vcpu.write(KERNEL, b"\x0f\x09")
    assert vcpu.general_protection(0x18)
    assert vcpu["rip"] == HANDLER + 16 * GP


def test_rdtsc_after_tsd_and_wbinvd_are_done(vcpu: StillVcpu) -> None:
    vcpu.set_tsc(0x1122334455667788)
    assert privileged(vcpu, b"\x0f\x31")
    assert (vcpu["rdx"], vcpu["rax"]) == (0x11223344, 0x55667788)
    assert privileged(vcpu, b"\x0f\x09")


def test_an_emulated_instruction_counts_as_a_step(vcpu: StillVcpu) -> None:
    vcpu["rflags"] = 0x302
    vcpu.write(KERNEL, b"\x0f\x09")
    assert vcpu.general_protection()
    assert vcpu["rip"] == HANDLER + 16
    assert struct.unpack("<Q", vcpu.read(vcpu["rsp"] + 16, 8))[0] == KERNEL + 2


def test_cpuid_is_the_policys_by_the_forced_prefix_only(vcpu: StillVcpu) -> None:
    vcpu.write(KERNEL, b"\x0f\x0bxen\x0f\xa2")
    vcpu["rax"] = 0x40000000
    assert vcpu.invalid_opcode()
    assert vcpu["rip"] == KERNEL + 7
    assert (vcpu["rax"], vcpu["rbx"], vcpu["rcx"], vcpu["rdx"]) == cpuid(0x40000000)
    vcpu["rip"] = KERNEL
    vcpu.write(KERNEL, b"\x0f\x0bxen\x0f\x31")
    assert vcpu.invalid_opcode()
    assert vcpu["rip"] == HANDLER + 16 * UD


def test_cpuid_names_xen_and_hides_what_engines_lack() -> None:
    assert struct.pack("<3I", *cpuid(0x40000000)[1:]) == b"XenVMMXenVMM"
    assert cpuid(0x40000001)[0] == 4 << 16 | 17
    ecx, edx = cpuid(1)[2:]
    for bit in (12, 17, 21, 26, 27, 28, 29):  # FMA PCID X2APIC XSAVE OSXSAVE AVX F16C
        assert not ecx >> bit & 1
    for bit in (1, 3, 7, 9, 12, 13, 14, 17):  # VME PSE MCE APIC MTRR PGE MCA PSE36
        assert not edx >> bit & 1
    assert not cpuid(7)[1] & (1 << 5 | 1 << 7 | 1 << 20)  # AVX2 SMEP SMAP
    assert cpuid(7)[1] & 1  # FSGSBASE


# --- page tables


def test_a_store_to_a_page_table_is_checked_and_carried_out(vcpu: StillVcpu) -> None:
    vcpu.allow_table_writes()
    entry = vcpu.entry_address(KERNEL + 0xF000)
    old = int.from_bytes(vcpu.read(entry, 8), "little")
    vcpu["rbx"], vcpu["rax"] = entry, old & ~2
    vcpu.write(KERNEL, b"\x48\x89\x03")  # mov %rax, (%rbx)
    assert vcpu.page_fault(0b11, entry)
    assert vcpu["rip"] == KERNEL + 3
    assert int.from_bytes(vcpu.read(entry, 8), "little") == old & ~2


def test_a_refused_store_leaves_nothing_but_its_fault(vcpu: StillVcpu) -> None:
    vcpu.allow_table_writes()
    entry = vcpu.entry_address(KERNEL + 0xF000)
    old = vcpu.read(entry, 8)
    vcpu["rbx"], vcpu["rax"] = entry, vcpu.root_kernel << 12 | 0x63  # a page table, writable
    vcpu.write(KERNEL, b"\x48\x87\x03")  # xchg %rax, (%rbx)
    assert vcpu.page_fault(0b11, entry)
    assert vcpu["rip"] == HANDLER + 16 * PF
    assert (vcpu.cr2, vcpu["rax"], vcpu.read(entry, 8)) == (entry, vcpu.root_kernel << 12 | 0x63, old)


def test_code_in_a_segment_of_the_ldt_stores_to_page_tables_too(vcpu: StillVcpu) -> None:
    vcpu.allow_table_writes()
    vcpu.write(READ_ONLY + 8, (0x00AFFB000000FFFF).to_bytes(8, "little"))  # 64-bit code
    vcpu.set_ldt(READ_ONLY, 512)
    vcpu["cs"] = 1 << 3 | 4 | 3
    entry = vcpu.entry_address(KERNEL + 0xF000)
    old = int.from_bytes(vcpu.read(entry, 8), "little")
    vcpu["rbx"], vcpu["rax"] = entry, old & ~2
    vcpu.write(KERNEL, b"\x48\x89\x03")  # mov %rax, (%rbx)
    store = threading.Thread(target=vcpu.page_fault, args=(0b11, entry), daemon=True)
    store.start()
    store.join(20)
    assert not store.is_alive(), "the vcpu waits for itself"
    assert vcpu["rip"] == KERNEL + 3
    assert int.from_bytes(vcpu.read(entry, 8), "little") == old & ~2


def test_other_tables_cannot_be_written(vcpu: StillVcpu) -> None:
    vcpu.allow_table_writes()
    vcpu["rbx"] = TABLES + 8 * 300
    vcpu.write(KERNEL, b"\x48\x89\x03")
    assert vcpu.page_fault(0b11, TABLES + 8 * 300)
    assert vcpu["rip"] == HANDLER + 16 * PF
