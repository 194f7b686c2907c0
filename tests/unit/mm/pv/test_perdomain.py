"""The per-domain area of a guest with several vcpus: each has its own GDT and LDT there, beside the others'."""

import pytest

from tests.unit.mm.rules import Kernel, Op, Pte
from xenia.testing.pv_domain import BASE, L4

AREA = 0xFFFF820000000000
GDT, LDT = (AREA, AREA + 0x20000), (AREA + 0x10000, AREA + 0x30000)
MAX_VCPUS = 32
FLAT_DATA = 0x00CFF3000000FFFF
FLAT_CODE = 0x00CFFB000000FFFF
DATA, CODE = 0x00C0F300, 0x00C0FB00


class Two(Kernel):
    """A guest with two vcpus: the first one's tables hold data segments, the second one's code."""

    def __init__(self) -> None:
        super().__init__(48)
        self.add_processor()
        self.gdts = [self.table((6, descriptor)) for descriptor in (FLAT_DATA, FLAT_CODE)]
        self.ldts = [self.table((3, descriptor)) for descriptor in (FLAT_DATA, FLAT_CODE)]
        for number in (1, 0):
            assert self.map(40 + number, self.ldts[number] << 12 | Pte.READ_ONLY) == 0
            self.run_on(number)
            assert self.set_gdt([self.gdts[number]], 512) == 0
            assert self.op(Op.SET_LDT, BASE + 4096 * (40 + number), 512) == 0

    def sees(self, number: int) -> tuple[int | None, int | None]:
        """The frames that a vcpu's processor has at its GDT's and LDT's addresses."""
        self.run_on(number)
        gdt, ldt = self.touch(GDT[number]), self.touch(LDT[number])
        return gdt and gdt >> 12, ldt and ldt >> 12

    def map_ldts(self) -> None:
        """Each processor read its LDT."""
        for number in (1, 0):
            self.run_on(number)
            assert self.map_ldt_page(LDT[number])


@pytest.fixture
def domain() -> Two:
    return Two()


def test_each_processor_gets_its_own_addresses_and_each_selector_its_own_descriptor(domain: Two) -> None:
    for number, attributes in enumerate((DATA, CODE)):
        notes = domain.processors[number].notes
        assert ("set_gdt", GDT[number], 15 * 4096 - 1) in notes
        assert ("set_ldt", LDT[number], 4095) in notes
        domain.run_on(number)
        assert domain.find_descriptor(6 << 3 | 3) == (0, 0xFFFFFFFF, attributes)
        assert domain.find_descriptor(3 << 3 | 7) == (0, 0xFFFFFFFF, attributes)
        assert isinstance(domain.find_descriptor(0xE033), tuple), "the flat segments are in both"
    assert [domain.sees(number) for number in (0, 1)] == list(zip(domain.gdts, domain.ldts, strict=True))
    assert domain.audit() == []


@pytest.mark.parametrize("number", [0, 1])
def test_an_ldt_page_is_mapped_for_the_vcpu_that_faulted(domain: Two, number: int) -> None:
    domain.run_on(number)
    assert not domain.map_ldt_page(LDT[1 - number])
    assert domain.map_ldt_page(LDT[number])
    assert domain.sees(number)[1] == domain.ldts[number]
    assert domain.sees(1 - number)[1] is None
    assert domain.audit() == []


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("event", ["no GDT", "no LDT", "another LDT", "another base pointer"])
def test_what_one_lets_go_of_the_other_keeps(domain: Two, number: int, event: str) -> None:
    domain.map_ldts()
    domain.run_on(number)
    if event == "no GDT":
        assert domain.set_gdt([], 0) == 0
        assert domain.frame(domain.gdts[number]).type_refs == 0
    else:
        if event == "no LDT":
            assert domain.op(Op.SET_LDT, 0, 0) == 0
        elif event == "another LDT":
            assert domain.op(Op.SET_LDT, BASE + 4096 * 42, 512) == 0
        else:
            assert domain.op(Op.NEW_BASEPTR, domain.pinned(4, (272, domain.word(domain.frames[L4], 272)))) == 0
        assert domain.frame(domain.ldts[number]).type_refs == 0
        assert domain.sees(number)[1] is None
    assert domain.sees(1 - number) == (domain.gdts[1 - number], domain.ldts[1 - number])
    assert domain.audit() == []


@pytest.mark.parametrize("unmapped", [0, 1])
@pytest.mark.parametrize("by", [0, 1])
def test_a_frame_unmapped_by_any_vcpu_is_let_go_by_all(domain: Two, unmapped: int, by: int) -> None:
    domain.map_ldts()
    assert None not in domain.sees(0) + domain.sees(1)
    domain.run_on(by)
    assert domain.map(40 + unmapped, 0) == 0
    assert [domain.sees(number)[1] for number in (0, 1)] == [None, None]
    assert [domain.frame(mfn).type_refs for mfn in domain.ldts] == [0, 0]
    assert domain.audit() == []


def test_both_may_have_the_same_frames(domain: Two) -> None:
    frame = domain.gdts[0]
    domain.run_on(1)
    assert domain.set_gdt([frame], 512) == 0
    assert domain.op(Op.SET_LDT, BASE + 4096 * 40, 512) == 0
    domain.map_ldts()
    assert [domain.frame(mfn).type_refs for mfn in (frame, domain.ldts[0])] == [2, 2]
    assert [domain.sees(number) for number in (0, 1)] == [(frame, domain.ldts[0])] * 2
    assert domain.audit() == []


@pytest.mark.parametrize("index", [2, 16, 32, 50])
def test_the_audit_sees_the_entries_of_every_vcpu(domain: Two, index: int) -> None:
    assert domain.audit() == []
    domain.poke(domain.perdomain_l1, index, domain.ldts[0] << 12 | Pte.PRESENT)
    assert domain.audit() != []


def test_the_audit_knows_how_many_there_are(domain: Two) -> None:
    domain.poke(domain.perdomain_l1, 64, domain.gdts[0] << 12 | Pte.PRESENT)
    assert any("not Xen's" in line for line in domain.audit())


def test_the_tables_grow_with_the_vcpus_and_all_frames_come_back() -> None:
    domain = Kernel(48)
    free = [domain.machine.nr_free]
    frame = domain.table((6, FLAT_DATA))
    for number in range(1, MAX_VCPUS):
        domain.add_processor()
        free.append(domain.machine.nr_free)
        domain.run_on(number)
        assert domain.set_gdt([frame], 512) == 0
        assert domain.touch(AREA + number * 0x20000) == frame << 12
    assert free == [free[0]] * 16 + [free[0] - 1] * 16, "a table has room for 16 vcpus"
    assert domain.frame(frame).type_refs == MAX_VCPUS - 1
    assert domain.audit() == []
    assert domain.relinquish() == 0
