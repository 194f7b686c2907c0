"""Bounce frames, iret, system calls and upcalls, on a vcpu that stands still."""

from __future__ import annotations

import struct

import pytest

from xenia.testing.still_vcpu import KERNEL, READ_ONLY, TABLES, USER, StillVcpu

STACK = KERNEL + 0x8000  # the registered kernel stack
HANDLER = KERNEL + 0x3000
FLAT_CS = 0xE033
FLAT_SS = 0xE02B
IF, TF, DF, IOPL1, NT, RF, AC, ID = 0x200, 0x100, 0x400, 0x1000, 0x4000, 0x10000, 0x40000, 0x200000
ARCHITECTURAL_IOPL = 1 << 4
IN_SYSCALL = 1 << 8

DE, DB, NMI, BP, UD, NM, DF_TRAP, GP, PF = 0, 1, 2, 3, 6, 7, 8, 13, 14
MASK_EVENTS = 4


@pytest.fixture
def vcpu() -> StillVcpu:
    """A vcpu in kernel mode, with a handler for each vector at HANDLER + 16 * vector, and every callback registered."""
    vcpu = StillVcpu()
    for vector in range(256):
        flags = MASK_EVENTS if vector == PF else 3 if vector == 0x21 else 1 if vector == 0x22 else 0
        register(vcpu, vector, HANDLER + 16 * vector, flags)
    for kind, name in ((0, "event"), (1, "failsafe"), (2, "syscall"), (5, "sysenter"), (7, "syscall32")):
        vcpu.write(KERNEL + 0x7000, struct.pack("<HHxxxxQ", kind, name == "syscall", callback(name)))
        assert vcpu.hypercall("callback_op", 0, KERNEL + 0x7000) == 0
    vcpu.upcall_mask = 0
    return vcpu


def register(vcpu: StillVcpu, vector: int, address: int, flags: int = 0) -> None:
    vcpu.write(KERNEL + 0x7000, struct.pack("<BBHIQ", vector, flags, 0, 0, address) + bytes(16))
    assert vcpu.hypercall("set_trap_table", KERNEL + 0x7000) == 0


def callback(name: str) -> int:
    return HANDLER + 0x2000 + 16 * ["event", "failsafe", "syscall", "sysenter", "syscall32"].index(name)


def frame(vcpu: StillVcpu, words: int) -> tuple[int, ...]:
    """The frame on the stack: that many words."""
    return struct.unpack(f"<{words}Q", vcpu.read(vcpu["rsp"], 8 * words))


def test_a_trap_in_the_kernel_pushes_on_its_own_stack(vcpu: StillVcpu) -> None:
    vcpu["rsp"] = KERNEL + 0xF00B
    vcpu["rcx"], vcpu["r11"] = 0x1111, 0x2222
    vcpu["rflags"] = 0x202 | TF | NT | RF | AC | ID | DF
    assert vcpu.inject(DE)
    assert vcpu["rsp"] == KERNEL + 0xF000 - 7 * 8
    assert frame(vcpu, 7) == (
        0x1111,
        0x2222,
        KERNEL,
        FLAT_CS & ~3,
        0x202 | TF | NT | RF | AC | ID | DF,
        KERNEL + 0xF00B,
        FLAT_SS,
    )
    assert vcpu["rip"] == HANDLER
    assert vcpu["rflags"] == 0x202 | ID | DF
    assert vcpu.kernel
    assert vcpu.dirty == {"flags"}


def test_a_trap_in_user_mode_switches_to_the_kernel_stack(vcpu: StillVcpu) -> None:
    vcpu.hypercall("stack_switch", FLAT_SS, STACK + 5)
    vcpu.go_user()
    vcpu["cs"], vcpu["ss"] = 0x33, 0x2B
    vcpu["rcx"], vcpu["r11"] = 1, 2
    assert vcpu.inject(DE)
    assert vcpu["rsp"] == STACK - 56
    assert frame(vcpu, 7) == (1, 2, USER, 0x33, 0x202, USER + 0x10000, 0x2B)
    assert (vcpu["cs"], vcpu["ss"]) == (FLAT_CS, FLAT_SS)
    assert vcpu.kernel
    assert vcpu.dirty == {"segments"}


def test_the_frame_shows_the_virtual_interrupt_flag_and_the_saved_mask(vcpu: StillVcpu) -> None:
    vcpu.upcall_mask = 1
    assert vcpu.inject(DE)
    cs, rflags = frame(vcpu, 7)[3:5]
    assert rflags == 0x2
    assert cs == 1 << 32 | FLAT_CS & ~3


def test_only_a_trap_that_says_so_masks_events(vcpu: StillVcpu) -> None:
    assert vcpu.inject(DE)
    assert vcpu.upcall_mask == 0
    assert vcpu.inject(PF, 0, 0x1234)
    assert vcpu.upcall_mask == 1
    assert frame(vcpu, 8)[4] == FLAT_CS & ~3


def test_iopl_is_shown_only_where_the_guest_asked_for_it(vcpu: StillVcpu) -> None:
    vcpu.iopl = 1
    assert vcpu.inject(DE)
    assert frame(vcpu, 7)[4] == 0x202
    vcpu.set_vm_assist(ARCHITECTURAL_IOPL)
    assert vcpu.inject(DE)
    assert frame(vcpu, 7)[4] == 0x202 | IOPL1


@pytest.mark.parametrize(("vector", "error"), [(8 + 2, 0x10), (11, 0x18), (12, 0x20), (13, 0x28), (17, 0)])
def test_traps_with_error_code_push_it_below_rip(vcpu: StillVcpu, vector: int, error: int) -> None:
    assert vcpu.inject(vector, error)
    assert frame(vcpu, 4)[2:] == (error, KERNEL)
    assert vcpu["rsp"] == KERNEL + 0x10000 - 8 * 8


def test_a_page_fault_leaves_its_address_in_vcpu_info_and_names_the_guests_own_mode(vcpu: StillVcpu) -> None:
    assert vcpu.page_fault(0b110, 0x1000)  # said to come from ring 3, but the vcpu is in kernel mode
    assert vcpu.cr2 == 0x1000
    assert frame(vcpu, 3)[2] == 0b010
    vcpu.go_user()
    assert vcpu.page_fault(0b000, 0x2000)
    assert frame(vcpu, 3)[2] == 0b100


def test_a_debug_trap_collects_its_causes_in_dr6(vcpu: StillVcpu) -> None:
    assert vcpu.inject(DB, 0, 0xFFFF4FF0)
    assert vcpu.hypercall("get_debugreg", 6) == 0xFFFF4FF0
    assert vcpu.inject(DB, 0, 0xFFFF0FF1)
    assert vcpu.hypercall("get_debugreg", 6) == 0xFFFF4FF1


def test_fpu_use_traps_once_after_the_guest_asked_for_it(vcpu: StillVcpu) -> None:
    assert vcpu.hypercall("fpu_taskswitch", 1) == 0
    assert vcpu.processor["ts"]
    assert vcpu.inject(NM)
    assert vcpu["rip"] == HANDLER + 16 * NM
    assert not vcpu.processor["ts"]
    vcpu["rip"] = KERNEL
    assert vcpu.inject(NM)  # nobody asked: go on
    assert vcpu["rip"] == KERNEL


def test_a_trap_without_handler_crashes_the_domain(vcpu: StillVcpu) -> None:
    vcpu.hypercall("set_trap_table", 0)
    assert not vcpu.inject(DE)
    assert vcpu.crash == "a trap or callback for which the guest has no handler"


@pytest.mark.parametrize("stack", [0, READ_ONLY + 0x800, TABLES + 0x800, 0x1234567890ABCDE0, 0xFFFF800000001000])
def test_a_stack_that_cannot_take_the_frame_crashes_the_domain(vcpu: StillVcpu, stack: int) -> None:
    vcpu["rsp"] = stack
    assert not vcpu.inject(DE)
    assert vcpu.crash is not None
    assert vcpu.crash.startswith("double fault")


def test_the_first_crash_keeps_its_reason(vcpu: StillVcpu) -> None:
    vcpu["rsp"] = 0
    assert not vcpu.inject(DE)
    reason = vcpu.crash
    vcpu.hypercall("set_trap_table", 0)
    assert not vcpu.inject(DE)
    assert vcpu.crash == reason


# --- int n


@pytest.mark.parametrize(
    ("vector", "taken"),
    [
        (0x20, False),
        (0x21, True),
        (0x22, False),
        (BP, True),
        (4, True),
        (0x80, True),
    ],
)
def test_user_mode_raises_only_the_interrupts_that_it_is_allowed(vcpu: StillVcpu, vector: int, taken: bool) -> None:
    vcpu.go_user()
    vcpu["rip"] = USER + 2
    assert vcpu.soft_interrupt(vector)
    if taken:
        assert vcpu["rip"] == HANDLER + 16 * vector
        assert frame(vcpu, 3)[2] == USER + 2
    else:
        assert vcpu["rip"] == HANDLER + 16 * GP
        assert frame(vcpu, 4)[2:] == (vector << 3 | 2, USER)


def test_the_kernel_counts_as_ring_1_or_0_by_its_own_choice(vcpu: StillVcpu) -> None:
    vcpu["rip"] = KERNEL + 2
    assert vcpu.soft_interrupt(0x22)
    assert vcpu["rip"] == HANDLER + 16 * 0x22
    vcpu["rip"] = KERNEL + 2
    assert vcpu.soft_interrupt(0x20)
    assert vcpu["rip"] == HANDLER + 16 * GP
    vcpu.set_vm_assist(ARCHITECTURAL_IOPL)
    vcpu["rip"] = KERNEL + 2
    assert vcpu.soft_interrupt(0x20)
    assert vcpu["rip"] == HANDLER + 16 * 0x20


# --- system calls


def test_a_system_call_enters_at_its_callback_with_flat_selectors(vcpu: StillVcpu) -> None:
    vcpu.set_gdt([0, 0, 0, 0, 0, 0, 0x00AFFB000000FFFF])
    vcpu.go_user()
    vcpu["cs"], vcpu["ss"] = 0x33, 0x2B
    vcpu["rip"], vcpu["rcx"], vcpu["r11"] = USER + 2, USER + 2, 0x246 | DF
    vcpu["rflags"] = 0x246 | DF
    assert vcpu.syscall()
    assert vcpu["rip"] == callback("syscall")
    assert frame(vcpu, 7) == (USER + 2, 0x246 | DF, USER + 2, FLAT_CS, 0x246 | DF, USER + 0x10000, FLAT_SS)
    assert vcpu["rflags"] == 0x246
    assert vcpu.upcall_mask == 1  # registered with CALLBACKF_mask_events


def test_compat_code_uses_the_32_bit_callback_and_falls_back_to_the_other(vcpu: StillVcpu) -> None:
    vcpu.go_user()
    vcpu["cs"] = 0xE023
    assert vcpu.syscall()
    assert vcpu["rip"] == callback("syscall32")
    assert frame(vcpu, 4)[3] == 0xE023
    plain = StillVcpu()
    plain.hypercall("set_callbacks", callback("event"), callback("failsafe"), callback("syscall"))
    plain.go_user()
    plain["cs"] = 0xE023
    assert plain.syscall()
    assert plain["rip"] == callback("syscall")


def test_sysenter_saves_nothing_of_where_it_came_from(vcpu: StillVcpu) -> None:
    vcpu.go_user()
    assert vcpu.sysenter()
    assert vcpu["rip"] == callback("sysenter")
    assert frame(vcpu, 7)[2:] == (0, 3, 0x202, 0, FLAT_SS)


def test_without_a_callback_the_instruction_faults() -> None:
    vcpu = StillVcpu()
    register(vcpu, UD, HANDLER + 16 * UD)
    register(vcpu, GP, HANDLER + 16 * GP)
    vcpu.go_user()
    vcpu["rip"] = USER + 2
    assert vcpu.syscall()
    assert vcpu["rip"] == HANDLER + 16 * UD
    assert frame(vcpu, 3)[2] == USER
    vcpu.go_user()
    vcpu["rip"] = USER + 2
    assert vcpu.sysenter()
    assert vcpu["rip"] == HANDLER + 16 * GP


# --- iret


def put_iret(
    vcpu: StillVcpu,
    *,
    rip: int = USER,
    cs: int = FLAT_CS,
    rflags: int = 0x202,
    rsp: int = USER + 0x800,
    ss: int = FLAT_SS,
    flags: int = 0,
) -> None:
    vcpu["rsp"] = KERNEL + 0x4000
    vcpu.write(KERNEL + 0x4000, struct.pack("<9Q", 0xA, 0xB, 0xC, flags, rip, cs, rflags, rsp, ss))


def test_iret_to_user_mode_loads_everything_from_the_frame(vcpu: StillVcpu) -> None:
    put_iret(vcpu)
    assert vcpu.iret()
    assert not vcpu.kernel
    assert {name: vcpu[name] for name in ("rax", "r11", "rcx", "rip", "cs", "rflags", "rsp", "ss")} == {
        "rax": 0xA,
        "r11": 0xB,
        "rcx": 0xC,
        "rip": USER,
        "cs": FLAT_CS,
        "rflags": 0x202,
        "rsp": USER + 0x800,
        "ss": FLAT_SS,
    }
    assert vcpu.dirty == {"flags", "segments"}


@pytest.mark.parametrize("rpl", [0, 1, 2])
def test_iret_to_a_lower_ring_stays_in_the_kernel_with_ring_3_selectors(vcpu: StillVcpu, rpl: int) -> None:
    put_iret(vcpu, rip=KERNEL + 0x40, cs=FLAT_CS & ~3 | rpl, ss=FLAT_SS & ~3 | rpl, rsp=KERNEL + 0x9000)
    assert vcpu.iret()
    assert vcpu.kernel
    assert (vcpu["cs"], vcpu["ss"], vcpu["rip"]) == (FLAT_CS, FLAT_SS, KERNEL + 0x40)


def test_iret_sanitises_rflags_and_moves_if_to_the_upcall_mask(vcpu: StillVcpu) -> None:
    put_iret(vcpu, rflags=0xFFFFFFFFFFFFFFFF & ~IF)
    assert vcpu.iret()
    assert vcpu["rflags"] == 0x254DD5 | IF | 2
    assert vcpu.upcall_mask == 1
    vcpu.inject(DE)
    put_iret(vcpu, rflags=0x202)
    assert vcpu.iret()
    assert vcpu.upcall_mask == 0


def test_iret_takes_iopl_only_where_the_guest_asked_for_it(vcpu: StillVcpu) -> None:
    put_iret(vcpu, cs=FLAT_CS & ~3, rip=KERNEL, rflags=0x202 | IOPL1)
    assert vcpu.iret()
    assert vcpu.iopl == 0
    vcpu.set_vm_assist(ARCHITECTURAL_IOPL)
    put_iret(vcpu, cs=FLAT_CS & ~3, rip=KERNEL, rflags=0x202 | IOPL1)
    assert vcpu.iret()
    assert vcpu.iopl == 1
    assert vcpu["rflags"] == 0x202


def test_iret_from_a_system_call_leaves_like_sysret(vcpu: StillVcpu) -> None:
    put_iret(vcpu, flags=IN_SYSCALL, cs=0x33, ss=0x2B, rflags=0x246)
    assert vcpu.iret()
    assert (vcpu["rcx"], vcpu["r11"]) == (USER, 0x246)
    assert (vcpu["cs"], vcpu["ss"]) == (FLAT_CS, FLAT_SS)
    vcpu.inject(DE)
    put_iret(vcpu, flags=IN_SYSCALL, cs=0xE023)
    assert vcpu.iret()
    assert vcpu["cs"] == 0xE023


CODE64, CODE32, DATA = 0x00AFFB000000FFFF, 0x00CFFB000000FFFF, 0x00CFF3000000FFFF
ABSENT, RING0, BOTH = CODE64 & ~(1 << 47), CODE64 & ~(3 << 45), CODE64 | 1 << 54
ABSENT_DATA, READ_ONLY_DATA = DATA & ~(1 << 47), DATA & ~(1 << 41)
SEGMENTS = [0, CODE64, CODE32, DATA, ABSENT, RING0, BOTH, READ_ONLY_DATA, ABSENT_DATA]


def selector(descriptor: int) -> int:
    return SEGMENTS.index(descriptor) << 3 | 3


@pytest.mark.parametrize(
    ("cs", "ss"),
    [
        (selector(CODE64), selector(DATA)),
        (selector(CODE32), selector(DATA)),
        (selector(CODE64), FLAT_SS),
        (0xE023, FLAT_SS),
    ],
)
def test_iret_loads_the_guests_own_segments(vcpu: StillVcpu, cs: int, ss: int) -> None:
    vcpu.set_gdt(SEGMENTS)
    put_iret(vcpu, cs=cs, ss=ss)
    assert vcpu.iret()
    assert (vcpu["cs"], vcpu["ss"], vcpu["rip"]) == (cs, ss, USER)


NP, SS = 11, 12


@pytest.mark.parametrize(
    ("cs", "ss", "rip", "vector", "error"),
    [
        (3, FLAT_SS, USER, GP, 0),
        (FLAT_CS, 3, USER, GP, 0),
        (selector(DATA), FLAT_SS, USER, GP, selector(DATA) & ~3),
        (selector(ABSENT), FLAT_SS, USER, NP, selector(ABSENT) & ~3),
        (selector(RING0), FLAT_SS, USER, GP, selector(RING0) & ~3),
        (selector(BOTH), FLAT_SS, USER, GP, selector(BOTH) & ~3),
        (0x7B, FLAT_SS, USER, GP, 0x78),
        (0x0F, FLAT_SS, USER, GP, 0x0C),
        (0xE00B, FLAT_SS, USER, GP, 0xE008),
        (FLAT_CS, selector(CODE64), USER, GP, selector(CODE64) & ~3),
        (FLAT_CS, selector(READ_ONLY_DATA), USER, GP, selector(READ_ONLY_DATA) & ~3),
        (FLAT_CS, selector(ABSENT_DATA), USER, SS, selector(ABSENT_DATA) & ~3),
        (FLAT_CS, FLAT_SS, 1 << 47, GP, 0),
        (0xE023, FLAT_SS, 1 << 32, GP, 0),
    ],
)
def test_what_iret_cannot_load_is_a_fault_where_it_wanted_to_go(
    vcpu: StillVcpu, cs: int, ss: int, rip: int, vector: int, error: int
) -> None:
    vcpu.set_gdt(SEGMENTS)
    put_iret(vcpu, cs=cs, ss=ss, rip=rip)
    assert vcpu.iret()
    assert vcpu.kernel
    assert vcpu["rip"] == HANDLER + 16 * vector
    assert vcpu["rsp"] == STACK - 8 * 8
    assert frame(vcpu, 8) == (0xC, 0xB, error, rip, cs, 0x202, USER + 0x800, ss)


def test_an_unreadable_iret_frame_crashes_the_domain(vcpu: StillVcpu) -> None:
    vcpu["rsp"] = KERNEL + 0x10000 - 8
    assert not vcpu.iret()
    assert vcpu.crash is not None
    assert vcpu.crash.startswith("iret: the frame")


def test_user_mode_needs_user_page_tables(vcpu: StillVcpu) -> None:
    vcpu.set_roots(0)
    put_iret(vcpu)
    assert not vcpu.iret()
    assert vcpu.crash == "iret to user mode without user page tables"


# --- modes


def test_user_mode_on_the_kernels_tables_sees_its_own_tables_refusals(vcpu: StillVcpu) -> None:
    vcpu.go_user()
    assert vcpu.page_fault(0b101, KERNEL)  # the kernel's pages are in no user L4
    assert frame(vcpu, 3)[2] == 0b100
    vcpu.go_user()
    assert vcpu.page_fault(0b101, 0xFFFF800000000000)
    assert frame(vcpu, 3)[2] == 0b100


def test_what_only_the_user_tables_allow_loads_them(vcpu: StillVcpu) -> None:
    vcpu.share_with_user(KERNEL)
    vcpu.map_page(KERNEL, 0x67)
    vcpu.go_user()
    assert vcpu.page_fault(0b101, KERNEL)
    assert vcpu["rip"] == USER
    assert (vcpu.processor["root"], vcpu.processor["root_loads"]) == ("user", 1)


def test_switching_modes_swaps_the_gs_bases_that_are_in_use(vcpu: StillVcpu) -> None:
    assert vcpu.hypercall("set_segment_base", 2, 0x1000) == 0
    assert vcpu.hypercall("set_segment_base", 1, 0x2000) == 0
    put_iret(vcpu)
    assert vcpu.iret()
    assert vcpu.processor["gs_base"] == 0x2000
    vcpu.set_segment(5, 0x2B, 0x3000)  # user mode loads %gs by itself
    assert vcpu.inject(DE)
    assert vcpu.processor["gs_base"] == 0x1000
    assert vcpu.gs_bases[1] == 0x3000


def test_page_tables_are_switched_only_where_their_lower_halves_differ(vcpu: StillVcpu) -> None:
    put_iret(vcpu)
    assert vcpu.iret()
    assert vcpu.inject(DE)
    assert vcpu.processor["root_loads"] == 0
    vcpu.split_roots()
    put_iret(vcpu)
    assert vcpu.iret()
    assert (vcpu.processor["root"], vcpu.processor["root_loads"]) == ("user", 1)
    assert vcpu.inject(DE)
    assert (vcpu.processor["root"], vcpu.processor["root_loads"]) == ("kernel", 2)


# --- what is pending


def test_an_upcall_is_delivered_when_pending_and_unmasked(vcpu: StillVcpu) -> None:
    assert vcpu.deliver_pending()
    assert vcpu["rip"] == KERNEL
    vcpu.upcall_pending = 1
    vcpu.upcall_mask = 1
    assert vcpu.deliver_pending()
    assert vcpu["rip"] == KERNEL
    vcpu.upcall_mask = 0
    assert vcpu.deliver_pending()
    assert vcpu["rip"] == callback("event")
    assert (vcpu.upcall_mask, vcpu.upcall_pending) == (1, 1)
    assert frame(vcpu, 5)[4] & IF


def test_an_upcall_without_callback_crashes_the_domain() -> None:
    vcpu = StillVcpu()
    vcpu.upcall_mask, vcpu.upcall_pending = 0, 1
    assert not vcpu.deliver_pending()


def test_an_nmi_goes_first_and_is_masked_until_iret(vcpu: StillVcpu) -> None:
    vcpu.write(KERNEL + 0x7000, struct.pack("<QQ", HANDLER + 8, 0))
    assert vcpu.hypercall("nmi_op", 0, KERNEL + 0x7000) == 0
    vcpu.upcall_pending = 1
    vcpu.raise_nmi()
    assert vcpu.deliver_pending()
    assert vcpu["rip"] == HANDLER + 8
    assert vcpu.upcall_mask == 1
    vcpu.raise_nmi()
    assert vcpu.deliver_pending()
    assert vcpu["rip"] == HANDLER + 8
    assert vcpu.nmi_masked
    put_iret(vcpu, rflags=0x2)
    assert vcpu.iret()
    assert vcpu.deliver_pending()
    assert vcpu["rip"] == HANDLER + 8
