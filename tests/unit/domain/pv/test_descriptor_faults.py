"""Faults of the processor's own reads of the descriptor tables: each vcpu has its part of the per-domain area."""

import struct

import pytest

from xenia.testing.still_vcpu import KERNEL, READ_ONLY, StillVcpu

AREA = 0xFFFF820000000000
HANDLER = KERNEL + 0x3000
GP, PF = 13, 14


@pytest.fixture(params=[0, 1, 17])
def number(request: pytest.FixtureRequest) -> int:
    assert isinstance(request.param, int)
    return request.param


@pytest.fixture
def vcpu(number: int) -> StillVcpu:
    """It has an LDT of one page, and handlers for what goes wrong with it."""
    vcpu = StillVcpu(number)
    for vector in (GP, PF):
        vcpu.write(KERNEL + 0x7000, struct.pack("<BBHIQ", vector, 0, 0, 0, HANDLER + 16 * vector) + bytes(16))
        assert vcpu.hypercall("set_trap_table", KERNEL + 0x7000) == 0
    vcpu.set_ldt(READ_ONLY, 512)
    return vcpu


def gdt(number: int) -> int:
    return AREA + number * 32 * 4096


def ldt(number: int) -> int:
    return gdt(number) + 16 * 4096


def test_the_processor_is_told_where_this_vcpus_tables_are(vcpu: StillVcpu, number: int) -> None:
    vcpu.set_gdt([0, 0])
    assert vcpu.processor["gdt"] == (gdt(number), 15 * 4096 - 1)
    assert vcpu.processor["ldt"] == (ldt(number), 4095)


def test_a_read_of_its_own_ldt_maps_the_page_and_the_vcpu_goes_on(vcpu: StillVcpu, number: int) -> None:
    assert vcpu.page_fault(0, ldt(number) + 0x18)
    assert vcpu["rip"] == KERNEL


def test_past_the_ldts_end_it_is_a_page_fault_in_the_guests_own_terms(vcpu: StillVcpu, number: int) -> None:
    assert vcpu.page_fault(0, ldt(number) + 0x1018)
    assert (vcpu["rip"], vcpu.cr2) == (HANDLER + 16 * PF, READ_ONLY + 0x1018)


def test_a_read_of_the_gdt_is_a_general_protection_fault(vcpu: StillVcpu, number: int) -> None:
    assert vcpu.page_fault(0, gdt(number) + 0xF008)
    assert vcpu["rip"] == HANDLER + 16 * GP
    assert struct.unpack("<Q", vcpu.read(vcpu["rsp"] + 16, 8)) == (0xF008,)


@pytest.mark.parametrize("other", [-1, 1])
def test_another_vcpus_part_is_none_of_its_business(vcpu: StillVcpu, number: int, other: int) -> None:
    assert vcpu.page_fault(0, ldt(number + other))
    assert (vcpu["rip"], vcpu.cr2) == (HANDLER + 16 * PF, ldt(number + other))
