"""A domain's memory and its vcpus' registers, read and written from outside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.guests.tiny import kernel
from xenia import ConfigError, Domain, GuestFault, Machine
from xenia.guests import embedded
from xenia.hypervisor.dump import own_frames

pytestmark = pytest.mark.guest

MIB = 1 << 20
MACH2PHYS_VIRT_START = 0xFFFF800000000000
PAGE = 4096
SPIN = b"\xeb\xfe"  # jmp .


def spinning(machine: Machine, name: str = "spins", vcpus: int = 1) -> Domain:
    domain = machine.create_domain(kernel("spin"), name=name, memory=8 * MIB, vcpus=vcpus)
    domain.start()
    return domain


@pytest.fixture(scope="module")
def domain() -> Iterator[Domain]:
    """It runs."""
    with Machine(Machine.memory_for(8 * MIB, 8 * MIB), scatter=7) as machine:
        domain = spinning(machine)
        yield domain
        assert domain.handle.audit() == [], "whatever was looked at and written"


def until(check: Callable[[], bool]) -> None:
    limit = time.monotonic() + 20
    while not check():
        assert time.monotonic() < limit
        time.sleep(0.001)


def test_memory_is_read_by_virtual_and_by_pseudo_physical_address(domain: Domain) -> None:
    rip = domain.vcpus[0].registers["rip"]
    first = rip & -PAGE
    page = domain.memory.read(first, PAGE)
    physical = domain.memory.translate(rip)
    mfns = dict(zip(*own_frames(domain.handle), strict=True))
    mfn = mfns[physical >> 12]
    assert physical % PAGE == rip % PAGE
    assert page == bytes(domain.handle.page(mfn)) and any(page)
    assert domain.memory.read(physical & -PAGE, PAGE, physical=True) == page
    assert domain.memory.read(first - 5, 3 * PAGE)[5:][:PAGE] == page, "across pages"
    assert domain.memory.read(rip, 0) == b""


def test_registers_are_read_while_it_runs_and_written_while_it_is_paused(domain: Domain) -> None:
    vcpu = domain.vcpus[0]
    with pytest.raises(ConfigError, match="pause it first"):
        vcpu.set_registers({"r15": 1})
    domain.pause()
    before = vcpu.registers
    vcpu.set_registers({"r15": 0x123456789ABCDEF0, "fs_base": 0x7000, "rflags": before["rflags"] | 1})
    area = bytearray(vcpu.fpu)
    area[160:168] = b"xmm zero"
    vcpu.set_fpu(bytes(area))
    after = vcpu.registers
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {"r15", "fs_base", "rflags"} and after["r15"] == 0x123456789ABCDEF0
    domain.unpause()
    assert vcpu.registers["r15"] == 0x123456789ABCDEF0 and vcpu.registers["fs_base"] == 0x7000
    assert vcpu.fpu[160:168] == b"xmm zero"
    assert vcpu.registers["kernel"] == 1 and vcpu.registers["cr3"] and vcpu.registers["rflags"] & 0x3200 == 0x200


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"rip": 1 << 47}, "canonical addresses only"),
        ({"gs_base": 0x8000_0000_0000_0000}, "canonical addresses only"),
        ({"r15": 7, "cr3": 0x1000}, "no register cr3 that can be written"),
        ({"r15": 7, "cs": 0xE033}, "no register cs that can be written"),
        ({"r15": 7, "rax": 1 << 64}, "64 bits"),
        ({"r15": 7, "ds": 0x7777}, "no such segment"),
    ],
)
def test_a_register_takes_what_a_guest_could_have_there_and_else_none_is_written(
    domain: Domain, values: dict[str, int], why: str
) -> None:
    domain.pause()
    try:
        before = domain.vcpus[0].registers
        with pytest.raises(ConfigError, match=why):
            domain.vcpus[0].set_registers(values)
        assert domain.vcpus[0].registers == before
        domain.vcpus[0].set_registers({"rflags": 0xFFFF_FFFF_FFFF_FFFF & ~0x100})
        assert domain.vcpus[0].registers["rflags"] & 0x20200 == 0x200, "IF stays on, and VM off"
        domain.vcpus[0].set_registers({"rflags": before["rflags"]})
    finally:
        domain.unpause()


def test_code_that_is_written_is_what_runs_from_then_on(domain: Domain) -> None:
    rip = domain.vcpus[0].registers["rip"]
    loop = domain.memory.read(rip & -PAGE, PAGE)
    for number in (42, 43):
        code = b"\xbb" + number.to_bytes(4, "little") + SPIN  # mov $number, %ebx
        domain.pause()
        place = domain.vcpus[0].registers["rip"]
        domain.memory.write(place, code) if number == 42 else domain.memory.write(
            domain.memory.translate(place - 5), code, physical=True
        )
        if number == 43:
            domain.vcpus[0].set_registers({"rip": place - 5})
        domain.unpause()
        until(lambda number=number: domain.vcpus[0].registers["rbx"] == number)  # type: ignore[misc]
    domain.pause()
    domain.memory.write(rip & -PAGE, loop)
    domain.vcpus[0].set_registers({"rip": rip})
    domain.unpause()


def test_what_is_xens_or_not_there_is_not_written(domain: Domain) -> None:
    memory, root = domain.memory, domain.vcpus[0].registers["cr3"] >> 12
    pfns = {mfn: pfn for pfn, mfn in zip(*own_frames(domain.handle), strict=True)}
    table = memory.read(pfns[root] << 12, PAGE, physical=True)
    with pytest.raises(GuestFault, match="page table"):
        memory.write(pfns[root] << 12, bytes(8), physical=True)
    base = domain.vcpus[0].registers["rip"] & -PAGE
    base -= memory.translate(base)  # where the guest has its memory in a row
    assert memory.read(base + (pfns[root] << 12), PAGE) == table
    with pytest.raises(GuestFault, match="page table"):
        memory.write(base + (pfns[root] << 12), bytes(8))
    assert memory.read(base + (pfns[root] << 12), PAGE) == table
    m2p = MACH2PHYS_VIRT_START + 8 * root
    assert int.from_bytes(memory.read(m2p, 8), "little") == pfns[root]
    with pytest.raises(GuestFault, match="page of others"):
        memory.write(m2p, bytes(8))
    for address in (0x7000_0000_0000, 1 << 47, 0xFFFF_FFFF_FFFF_FFF0):
        with pytest.raises(GuestFault, match=f"{address:#x}: read"):
            memory.read(address, 8)
        with pytest.raises(GuestFault, match=f"{address:#x}: write"):
            memory.write(address, bytes(8))
    with pytest.raises(GuestFault, match="0x800000: read"):
        memory.read(8 * MIB - 8, 16, physical=True)
    for wrong in (-1, 1 << 64):
        with pytest.raises(ConfigError, match="64 bits"):
            memory.read(wrong, 1)
    with pytest.raises(ConfigError, match="vcpus 0 to 0, and no vcpu 3"):
        memory.read(base, 1, vcpu=3)


def test_a_domain_that_is_destroyed_has_no_memory_and_its_neighbour_keeps_its_own() -> None:
    with Machine(Machine.memory_for(8 * MIB, 8 * MIB)) as machine:
        gone, neighbour = spinning(machine, "gone"), spinning(machine, "neighbour")
        rip = gone.vcpus[0].registers["rip"]
        there = neighbour.memory.read(0, 8 * MIB, physical=True)
        gone.memory.read(0, 8 * MIB, physical=True)
        gone.destroy()
        for physical in (False, True):
            with pytest.raises(GuestFault):
                gone.memory.read(0x1000 if physical else rip, 8, physical=physical)
            with pytest.raises(GuestFault):
                gone.memory.write(0x1000 if physical else rip, bytes(8), physical=physical)
        assert len(there) == 8 * MIB and neighbour.handle.audit() == []


def test_a_machine_in_a_process_of_its_own_shows_the_same() -> None:
    image = embedded()
    assert image is not None
    with Machine(Machine.memory_for(16 * MIB), isolate=True) as machine:
        domain = machine.create_domain(image, memory=16 * MIB)
        domain.pause()
        domain.start()
        registers = domain.vcpus[0].registers
        physical = domain.memory.translate(registers["rip"])
        assert domain.memory.read(physical, 64, physical=True) == domain.memory.read(registers["rip"], 64)
        assert len(domain.memory.read(0, 16 * MIB, physical=True)) == domain.memory.size == 16 * MIB
        domain.vcpus[0].set_registers({"r15": 99})
        domain.vcpus[0].set_fpu(domain.vcpus[0].fpu)
        domain.memory.write(registers["rip"], SPIN)
        domain.unpause()
        assert domain.vcpus[0].registers.items() >= {"r15": 99, "rip": registers["rip"]}.items()
        with pytest.raises(GuestFault, match="0x10: read"):
            domain.memory.read(0x10, 8)
