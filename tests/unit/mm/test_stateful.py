"""Any sequence of lawful and unlawful steps, shrunk by hypothesis to the shortest one that breaks the frame table."""

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.unit.mm.rules import Kernel, Op
from xenia.testing.pv_domain import BASE, FIRST_FREE

PAGES = 20
pages = st.integers(FIRST_FREE, PAGES - 1)
indices = st.sampled_from([0, 1, 255, 256, 260, 271, 272, 511])
flags = st.sampled_from([0, 1, 3, 5, 7, 0x61, 0x63, 0x67, 0x81, 0x101])


class Memory(RuleBasedStateMachine):
    """A guest with twelve pages to play with; whatever it is told, the frame table must stay right."""

    def __init__(self) -> None:
        super().__init__()
        self.domain = Kernel(PAGES)

    @rule(page=pages, index=indices, mapped=pages, bits=flags)
    def store(self, page: int, index: int, mapped: int, bits: int) -> None:
        self.domain.store(BASE + 4096 * page + 8 * index, self.domain.frames[mapped] << 12 | bits)

    @rule(page=pages, mapped=pages, bits=flags, flush=st.sampled_from([0, 1, 2]))
    def remap(self, page: int, mapped: int, bits: int, flush: int) -> None:
        self.domain.update_va_mapping(BASE + 4096 * page, self.domain.frames[mapped] << 12 | bits, flush)

    @rule(page=pages, level=st.integers(1, 4))
    def pin(self, page: int, level: int) -> None:
        self.domain.op(Op.PIN_L1 + level - 1, self.domain.frames[page])

    @rule(page=pages)
    def unpin(self, page: int) -> None:
        self.domain.op(Op.UNPIN, self.domain.frames[page])

    @rule(page=pages, index=indices, mapped=pages, bits=flags)
    def update(self, page: int, index: int, mapped: int, bits: int) -> None:
        self.domain.update(self.domain.frames[page], index, self.domain.frames[mapped] << 12 | bits)

    @rule(page=st.none() | pages)
    def user_base_pointer(self, page: int | None) -> None:
        self.domain.op(Op.NEW_USER_BASEPTR, 0 if page is None else self.domain.frames[page])

    @rule(frames=st.lists(pages, max_size=2))
    def gdt(self, frames: list[int]) -> None:
        self.domain.set_gdt([self.domain.frames[page] for page in frames], 512 * len(frames))

    @rule(page=pages)
    def ldt(self, page: int) -> None:
        self.domain.op(13, BASE + 4096 * page, 512)
        self.domain.map_ldt_page(0xFFFF820000010000)

    @rule(page=pages, write=st.booleans())
    def touch(self, page: int, write: bool) -> None:
        self.domain.touch(BASE + 4096 * page, write)

    @precondition(lambda self: self.domain.tot_pages > FIRST_FREE + 4)
    @rule(page=pages)
    def give_back(self, page: int) -> None:
        self.domain.release(self.domain.frames[page])

    @invariant()
    def the_frame_table_is_right(self) -> None:
        assert self.domain.audit() == []

    def teardown(self) -> None:
        assert self.domain.relinquish() == 0


TestMemory = Memory.TestCase
TestMemory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True)
