"""`rep movs` and `rep stos`: as one element after the other, whatever an engine does at once."""

import random
from itertools import pairwise

import pytest

from tests.assembler import assemble
from xenia.testing.bare import CODE, DATA, READ_ONLY, SIZE, TABLE, Program

pytestmark = pytest.mark.usefixtures("engine")

RAX, RCX, RSI, RDI = 0, 1, 6, 7
SPAN = 0x4000  # bytes from DATA on that a program may touch
LEAVE = "xor %eax, %eax; syscall"
WIDTHS = {"b": 1, "w": 2, "l": 4, "q": 8}
PATTERN = 0x1122334455667788


def execute(instruction: str, count: int, source: int, destination: int, *, down: bool, user: bool) -> Program:
    """Run it on a memory of noise."""
    program = Program(
        assemble(
            f"{'std' if down else 'cld'}; mov ${count}, %rcx; mov ${source}, %rsi; mov ${destination}, %rdi;"
            f"movabs ${PATTERN}, %rax; rep {instruction}; cld; mov %rax, %rbx; {LEAVE}"
        ),
        user,
    )
    program.write(DATA, random.Random(1).randbytes(SPAN))
    assert program.run()
    assert program.stale_translations() == []
    return program


def modelled(instruction: str, count: int, source: int, destination: int, *, down: bool) -> bytes:
    """What it leaves in memory."""
    memory = bytearray(random.Random(1).randbytes(SPAN))
    width = WIDTHS[instruction[-1]]
    step = -width if down else width
    for _ in range(count):
        if instruction.startswith("movs"):
            element = bytes(memory[source - DATA : source - DATA + width])
        else:
            element = PATTERN.to_bytes(8, "little")[:width]
        memory[destination - DATA : destination - DATA + width] = element
        source += step
        destination += step
    return bytes(memory)


def check(
    instruction: str, count: int, source: int, destination: int, *, down: bool = False, user: bool = False
) -> None:
    program = execute(instruction, count, source, destination, down=down, user=user)
    moved = count * WIDTHS[instruction[-1]] * (-1 if down else 1)
    assert program.last[0] == "syscall"
    assert program.gpr[RDI] == destination + moved
    assert program.gpr[RSI] == source + (moved if instruction.startswith("movs") else 0)
    assert program.read(DATA, SPAN) == modelled(instruction, count, source, destination, down=down)


@pytest.mark.parametrize("user", [False, True], ids=["kernel", "user"])
@pytest.mark.parametrize("instruction", [f"{name}{width}" for name in ("movs", "stos") for width in WIDTHS])
def test_any_stretch_of_memory_is_copied_or_filled(instruction: str, user: bool) -> None:
    chance = random.Random(instruction)
    width = WIDTHS[instruction[-1]]
    for _ in range(12):
        count = chance.choice([0, 1, 7, chance.randrange(SPAN // width // 2)])
        room = SPAN - count * width
        source, destination = (DATA + chance.randrange(room + 1) for _ in range(2))
        check(instruction, count, source, destination, user=user)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("distance", [-4096, -9, -8, -1, 1, 3, 8, 9, 64, 4095, 4096, 4097])
def test_what_overlaps_is_read_again(width: str, distance: int) -> None:
    middle = DATA + SPAN // 2
    check(f"movs{width}", 4000 // WIDTHS[width], middle - 2000, middle - 2000 + distance)


@pytest.mark.parametrize("instruction", ["movsb", "movsq", "stosb", "stosw"])
def test_downwards_is_downwards(instruction: str) -> None:
    check(instruction, 700, DATA + SPAN - 8, DATA + 0x2345, down=True)


@pytest.mark.parametrize(("instruction", "width"), [("movsb", 1), ("stosb", 1), ("movsq", 8), ("stosq", 8)])
def test_a_fault_leaves_what_was_done_and_what_is_left(instruction: str, width: int) -> None:
    program = execute(instruction, 512, DATA, READ_ONLY - 256 * width, down=False, user=False)
    assert program.last == ("exception", 14, 3, READ_ONLY)
    assert program.gpr[RCX] == 256
    assert program.gpr[RDI] == READ_ONLY
    assert program.read(program.rip, 1) == b"\xf3"
    written = (
        PATTERN.to_bytes(8, "little")[:width] * 256
        if instruction.startswith("stos")
        else program.read(DATA, 256 * width)
    )
    assert program.read(READ_ONLY - 256 * width, 256 * width) == written


def test_a_fault_of_the_source_comes_at_its_element() -> None:
    program = execute("movsb", 300, SIZE // 8 - 100, DATA, down=False, user=False)
    assert program.last == ("exception", 14, 0, SIZE // 8)
    assert (program.gpr[RCX], program.gpr[RSI], program.gpr[RDI]) == (200, SIZE // 8, DATA + 100)


def test_single_steps_are_single_elements() -> None:
    program = Program(
        assemble(f"mov $4, %ecx; mov ${DATA}, %edi; pushfq; orq $0x100, (%rsp); popfq; 1: rep stosb; nop; hlt")
    )
    left = []
    while program.run() and program.last[:2] == ("exception", 1):
        left.append(program.gpr[RCX])
    assert left[:4] == [4, 3, 2, 1] or left[:4] == [3, 2, 1, 0]
    assert all(earlier - later in (0, 1) for earlier, later in pairwise(left))


@pytest.mark.needs("debug_registers")
def test_a_watched_byte_is_noticed_inside_a_long_stretch() -> None:
    program = Program(assemble(f"mov $3000, %ecx; mov ${DATA}, %edi; rep stosb; {LEAVE}"))
    program.set_debugreg(0, DATA + 1000)
    program.set_debugreg(7, 1 << 16 | 2)  # writes of one byte
    assert program.run()
    assert program.last[:2] == ("exception", 1)
    assert program.gpr[RDI] == DATA + 1001


def test_code_that_is_copied_over_runs_as_copied() -> None:
    # The function at 3: is run, then overwritten with the one at 4:, and run again.
    program = Program(
        assemble(
            "call 3f; mov %ebx, %ebp; lea 4f(%rip), %rsi; lea 3f(%rip), %rdi; mov $6, %ecx; rep movsb; call 3f;"
            f"{LEAVE}; 3: mov $1, %ebx; ret; 4: mov $2, %ebx; ret"
        )
    )
    assert program.run()
    assert (program.gpr[5], program.gpr[3]) == (1, 2)
    assert program.rip > CODE


@pytest.mark.parametrize("apart", [1 << 18, 1 << 19, 1 << 20])
@pytest.mark.parametrize("offset", [0, 3])
def test_pages_that_are_far_apart_are_copied_and_back(apart: int, offset: int) -> None:
    """However an engine finds translations, some of these want the same place."""
    first, second = DATA + apart, DATA + apart // 2
    copy = "mov $0x3000, %ecx; mov ${}, %esi; mov ${}, %edi; rep movsb;"
    program = Program(
        assemble(
            copy.format(DATA, first) + copy.format(first, second + offset) + copy.format(second + offset, DATA) + LEAVE
        )
    )
    data = random.Random(2).randbytes(0x3000)
    program.write(DATA, data)
    assert program.run()
    assert program.read(first, 0x3000) == program.read(second + offset, 0x3000) == program.read(DATA, 0x3000) == data
    assert program.stale_translations() == []


@pytest.mark.parametrize(
    ("count", "source", "destination"),
    [(0, 0, 0), (0x1000, 0, 0), (0x1001, 0, 0), (0x1000, 0, 1), (0x800, 0x800, 0), (0x1800, 0x800, 0)],
)
def test_only_pages_that_are_touched_are_accessed_and_dirty(count: int, source: int, destination: int) -> None:
    start, end = DATA, DATA + (1 << 20)
    program = execute("movsb", count, start + source, end + destination, down=False, user=False)

    def bits(page: int) -> int:
        return program.read(4096 * TABLE + 8 * (page >> 12), 1)[0] & 0x60

    def touched(offset: int) -> int:
        return (offset + count + 0xFFF) >> 12 if count else 0

    assert [bits(start + 4096 * page) for page in range(4)] == [
        0x20 if page < touched(source) else 0 for page in range(4)
    ]
    assert [bits(end + 4096 * page) for page in range(4)] == [
        0x60 if page < touched(destination) else 0 for page in range(4)
    ]


def test_a_source_that_faults_leaves_the_destination_untouched() -> None:
    program = execute("movsb", 10, SIZE // 8, DATA + 0x3000, down=False, user=False)
    assert program.last == ("exception", 14, 0, SIZE // 8)
    assert program.read(4096 * TABLE + 8 * ((DATA + 0x3000) >> 12), 1)[0] & 0x60 == 0
