"""A vcpu's registers as GDB has them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from xml.etree import ElementTree

from xenia.hypervisor.registers import GENERAL, SELECTORS
from xenia.toolstack.debug import registers

NAMES = (*GENERAL, "rip", "rflags", *SELECTORS, "fs_base", "gs_base", "k_gs_base", "cr0", "cr2", "cr3", "cr4", "dr0", "dr1", "dr2", "dr3", "dr6", "dr7")  # fmt: skip  # noqa: E501


class Vcpu:
    def __init__(self, seed: int) -> None:
        draw = random.Random(seed)
        wide = {*GENERAL, "rip", "fs_base", "gs_base", "k_gs_base", "cr3"}
        self.registers = {name: draw.getrandbits(64 if name in wide else 16) for name in NAMES}
        self.fpu = draw.randbytes(512)

    def set_registers(self, values: Mapping[str, int]) -> None:
        self.registers = {**self.registers, **values}

    def set_fpu(self, area: bytes) -> None:
        self.fpu = area


def test_the_description_numbers_what_is_sent_and_says_how_wide_it_is() -> None:
    root = ElementTree.fromstring(registers.target_description().partition(b"<target>")[2].join([b"<target>", b""]))
    told = [(reg.get("name"), reg.get("bitsize"), reg.get("regnum")) for reg in root.iter("reg")]
    assert told == [(one.name, str(one.bits), str(n)) for n, one in enumerate(registers.REGISTERS)]
    assert len(registers.read_all(Vcpu(1))) == sum(one.size for one in registers.REGISTERS)


def test_what_is_read_is_what_was_written_one_by_one_and_all_at_once() -> None:
    for seed in range(20):
        one, other, third = Vcpu(seed), Vcpu(seed + 1000), Vcpu(seed + 2000)
        for number in range(len(registers.REGISTERS)):
            value = registers.read_one(one, number)
            assert value is not None and registers.write_one(other, number, value)
        registers.write_all(third, registers.read_all(one))
        ftag = next(n for n, register in enumerate(registers.REGISTERS) if register.name == "ftag")
        for vcpu in (other, third):
            assert vcpu.registers == one.registers
            for number in range(len(registers.REGISTERS)):
                if number != ftag:  # which the contents decide
                    assert registers.read_one(vcpu, number) == registers.read_one(one, number)


def test_the_tag_word_is_what_fnstenv_would_store() -> None:
    vcpu = Vcpu(0)
    area = bytearray(512)
    area[3] = 6 << 3  # the top is register 6
    area[4] = 0b11000001  # 6, 7 and 0 are in use
    area[32:42] = bytes.fromhex("0000000000000080ff3f")  # ST(0), register 6: 1.0
    area[64:74] = bytes.fromhex("0000000000000080ff7f")  # ST(2), register 0: infinity
    vcpu.fpu = bytes(area)  # ST(1), register 7: zero
    ftag = next(n for n, register in enumerate(registers.REGISTERS) if register.name == "ftag")
    assert registers.read_one(vcpu, ftag) == (0b01_00_11_11_11_11_11_10).to_bytes(4, "little")


def test_there_is_no_register_of_another_number_or_size() -> None:
    vcpu = Vcpu(3)
    assert registers.read_one(vcpu, len(registers.REGISTERS)) is None and registers.read_one(vcpu, -1) is None
    assert not registers.write_one(vcpu, 0, bytes(7)) and not registers.write_one(vcpu, 1000, bytes(8))
