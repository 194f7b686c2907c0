"""Which segment descriptors a guest may have."""

import pytest

from xenia.mm.pv.descriptor_check import checked_descriptor

PRESENT = 1 << 47
CODE_OR_DATA = 1 << 44
ACCESSED = 1 << 40
RING3 = 3 << 45
FLAT_CODE64 = 0x00AF9B000000FFFF


def system(kind: int) -> int:
    return PRESENT | kind << 40


def call_gate(selector: int, reserved: int = 0) -> int:
    return system(12) | selector << 16 | reserved << 32


def test_a_descriptor_that_is_not_present_may_be_anything() -> None:
    for value in (0, 0xFFFF7FFFFFFFFFFF, 9 << 40, 0x123456789):
        assert checked_descriptor(value) == value


def test_a_code_segment_moves_to_ring_3() -> None:
    assert checked_descriptor(FLAT_CODE64) == FLAT_CODE64 | RING3


def test_a_segment_gets_its_accessed_bit_so_that_the_processor_never_writes_it() -> None:
    data = 0x00CFF2000000FFFF
    assert checked_descriptor(data) == data | ACCESSED


@pytest.mark.parametrize("kind", range(16))
def test_every_type_of_code_and_data_segment_is_allowed(kind: int) -> None:
    assert checked_descriptor(PRESENT | CODE_OR_DATA | kind << 40) is not None


@pytest.mark.parametrize("kind", [k for k in range(16) if k not in (0, 12)])
def test_system_descriptors_and_interrupt_gates_are_refused(kind: int) -> None:
    assert checked_descriptor(system(kind)) is None


def test_the_second_half_of_a_call_gate_is_allowed() -> None:
    assert checked_descriptor(system(0) | 0x12345678) == system(0) | RING3 | 0x12345678


@pytest.mark.parametrize("selector", [0, 0x33, 0xDFFB, 0xE033, 0xE037, 0xFFFF])
def test_a_call_gate_may_lead_to_the_guests_segments_and_the_flat_code_segment(selector: int) -> None:
    assert checked_descriptor(call_gate(selector)) == call_gate(selector)


def test_a_call_gate_is_kept_out_of_the_guests_reach() -> None:
    assert checked_descriptor(call_gate(0x33) | RING3) == call_gate(0x33)


@pytest.mark.parametrize("selector", [0xE000, 0xE008, 0xE010, 0xE023, 0xE02B, 0xE030, 0xE038, 0xFFFB])
def test_a_call_gate_may_not_lead_into_the_hypervisors_descriptors(selector: int) -> None:
    assert checked_descriptor(call_gate(selector)) is None


@pytest.mark.parametrize("bit", range(8))
def test_reserved_bits_of_a_call_gate_must_be_clear(bit: int) -> None:
    assert checked_descriptor(call_gate(0x33, 1 << bit)) is None
