"""Where guest code goes on after a jump, while page tables change: it may be remembered, but not for too long.

The programs run in the upper half, as a guest kernel does.  A function of another page is called until the engine knows
the way; then the page becomes another frame, where another function is.
"""

import struct
import threading

import pytest

from tests.assembler import assemble
from xenia.testing.bare import CODE, DATA, ROOT, SIZE, TABLE, UPPER, Program

pytestmark = pytest.mark.usefixtures("engine")

RBX, RBP = 3, 5
FRAME = 0x1000
OTHER = DATA + FRAME
LEAVE = "xor %eax, %eax; syscall"
ANSWER_1, ANSWER_2 = (assemble(f"mov ${answer}, %ebx; ret") for answer in (1, 2))

# Ways to call the function at the start of the page DATA.
CALLS = {
    "direct": f"call start + {DATA - CODE}",
    "tail": f"call 8f; jmp 9f; .p2align 3; 8: jmp start + {DATA - CODE}; 9:",
    "conditional": f"call 8f; jmp 9f; .p2align 3; 8: xor %eax, %eax; jz start + {DATA - CODE}; 9:",
    "indirect": f"lea start + {DATA - CODE}(%rip), %rax; call *%rax",
}


def calls(result: str) -> str:
    """Often enough to be remembered, and always from the same place."""
    return f"mov $5, %r12d; 5: call site; mov %ebx, {result}; dec %r12d; jnz 5b;"


def program(way: str, source: str, half: int = UPPER, user: bool = False) -> Program:
    made = Program(assemble(f"start: {source}; {LEAVE}; site: {way}; ret"), upper=half == UPPER, user=user)
    made.write(DATA, ANSWER_1)
    made.write(OTHER, ANSWER_2)
    return made


@pytest.mark.parametrize(("half", "user"), [(0, False), (0, True), (UPPER, False)], ids=["lower", "user", "upper"])
@pytest.mark.parametrize("way", CALLS.values(), ids=CALLS)
def test_a_call_follows_its_page_to_another_frame(way: str, half: int, user: bool) -> None:
    remap = f"mov $3, %eax; mov ${DATA >> 12}, %edi; mov ${OTHER | 7}, %esi; syscall;"
    run = program(way, calls("%ebp") + remap + calls("%r13d"), half, user)
    assert run.run()
    assert (run.gpr[RBP], run.gpr[13]) == (1, 2)
    assert run.stale_translations() == []


@pytest.mark.parametrize("way", CALLS.values(), ids=CALLS)
def test_a_call_follows_its_page_when_the_root_is_loaded_again(way: str) -> None:
    remap = f"mov $4, %eax; mov ${DATA >> 12}, %edi; mov ${OTHER | 7}, %esi; syscall;"
    remap += f"mov $8, %eax; mov ${ROOT}, %edi; syscall;"
    run = program(way, calls("%ebp") + remap + calls("%r13d"))
    assert run.run()
    assert (run.gpr[RBP], run.gpr[13]) == (1, 2)


@pytest.mark.parametrize("way", CALLS.values(), ids=CALLS)
def test_a_call_that_is_first_made_before_the_flush_follows_its_page_after_it(way: str) -> None:
    # The page is known as code, by another call, when its entry changes; until the flush either frame may run.
    known = f"lea start + {DATA - CODE}(%rip), %rax; call *%rax;"
    remap = f"mov $4, %eax; mov ${DATA >> 12}, %edi; mov ${OTHER | 7}, %esi; syscall;"
    flush = f"mov $8, %eax; mov ${ROOT}, %edi; syscall;"
    run = program(way, known + remap + calls("%ebp") + flush + calls("%r13d"))
    assert run.run()
    assert run.gpr[RBP] in (1, 2)
    assert run.gpr[13] == 2


@pytest.mark.parametrize("way", CALLS.values(), ids=CALLS)
def test_a_call_goes_where_the_root_in_use_says(way: str) -> None:
    # A second root at frame 0x74, whose upper half has tables of its own that lead to the other function.
    load = "mov $8, %eax; mov ${}, %edi; syscall;"
    run = program(way, calls("%ebp") + load.format(0x74) + calls("%r13d") + load.format(ROOT) + calls("%r14d"))
    table = bytearray(run.read(TABLE << 12, FRAME))
    table[8 * (DATA >> 12) : 8 * (DATA >> 12) + 8] = struct.pack("<Q", OTHER | 7)
    run.write(0x77 << 12, bytes(table))
    for frame, leads_to in ((0x76, 0x77), (0x75, 0x76)):
        run.write(frame << 12, struct.pack("<Q", leads_to << 12 | 7))
    run.write(0x74 << 12, run.read(ROOT << 12, FRAME))
    run.write((0x74 << 12) + 8 * 511, struct.pack("<Q", 0x75 << 12 | 7))
    assert run.run()
    assert (run.gpr[RBP], run.gpr[13], run.gpr[14]) == (1, 2, 1)


@pytest.mark.parametrize("way", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("entry", [DATA, DATA | 7 | 1 << 63], ids=["not present", "not executable"])
def test_a_call_faults_once_its_page_is_no_code(way: str, entry: int) -> None:
    remap = f"mov $3, %eax; mov ${DATA >> 12}, %edi; movabs ${entry}, %rsi; syscall;"
    run = program(way, calls("%ebp") + remap + calls("%r13d"))
    assert run.run()
    assert run.gpr[RBP] == 1
    assert run.last == ("exception", 14, 0x11 if entry & 1 else 0x10, UPPER + DATA)


WRITES = {  # of the immediate of the function at DATA
    "there": f"movb $7, start + {DATA - CODE + 1}(%rip);",
    "at another address": f"movb $7, {DATA + 1};",
    "by someone else": f"mov $5, %eax; mov ${DATA + 1}, %edi; mov $7, %esi; syscall;",
    "by a string instruction": f"mov ${DATA + 1}, %edi; mov $1, %ecx; mov $7, %eax; rep stosb;",
}


@pytest.mark.parametrize("way", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_call_runs_what_was_written_there_since(way: str, write: str) -> None:
    run = program(way, calls("%ebp") + write + calls("%r13d"))
    assert run.run()
    assert (run.gpr[RBP], run.gpr[13]) == (1, 7)


@pytest.mark.parametrize("way", CALLS.values(), ids=CALLS)
def test_a_function_on_two_pages_follows_the_second(way: str) -> None:
    # Its first instruction lies across the end of the page; the answer is in the second one.
    at = DATA + FRAME - 2
    remap = f"mov $3, %eax; mov ${OTHER >> 12}, %edi; mov ${DATA + 2 * FRAME | 7}, %esi; syscall;"
    way = way.replace(str(DATA - CODE), str(at - CODE))
    run = program(way, calls("%ebp") + remap + calls("%r13d"))
    run.write(at, ANSWER_1)
    run.write(OTHER, ANSWER_1[2:])
    run.write(DATA + 2 * FRAME, bytes([9, 0]) + ANSWER_1[4:])
    assert run.run()
    assert (run.gpr[RBP], run.gpr[13]) == (1, 1 | 9 << 8)


def test_calls_through_many_pages_all_arrive() -> None:
    # Functions on every page from DATA to the page tables' end, each of which calls the next one and adds one.
    pages = 300
    first = 0x100000
    run = Program(
        assemble(f"start: mov $200, %ebp; 1: call start + {first - CODE}; dec %ebp; jnz 1b; {LEAVE}"), upper=True
    )
    link = assemble(f"start: incq %rbx; call start + {FRAME}; ret")
    end = assemble("incq %rbx; ret")
    last = min(first + pages * FRAME, SIZE // 8 - FRAME)
    for page in range(first, last, FRAME):
        run.write(page, link)
    run.write(last, end)
    assert run.run()
    assert run.gpr[RBX] == 200 * ((last - first) // FRAME + 1)


LOOPS = {
    "to itself": "1: jmp 1b",
    "backwards": "1: nop; jmp 2f; 3: jmp 1b; 2: jmp 3b",
    "conditional": "1: test %eax, %eax; 2: jnz 3f; jz 1b; 3:",
    "counted": "1: mov $9, %rcx; loop 1b; jmp 1b",
    "by calls": "1: mov $0x50000, %esp; call 2f; 2: call 1b",
    "by calls and returns": "1: call 2f; jmp 1b; 2: ret",
    "by an address": "lea 1f(%rip), %rax; 1: jmp *%rax",
    "by returns": "1: lea 1b(%rip), %rax; push %rax; ret",
    "to another page": f"start: jmp start + {DATA - CODE}",
    "through the kernel": "1: mov $6, %eax; syscall; jmp 1b",
    "storing": f"1: mov $-1, %rcx; mov ${DATA}, %edi; xor %eax, %eax; rep stosb; jmp 1b",
}


@pytest.mark.parametrize("half", [0, UPPER], ids=["lower", "upper"])
@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_every_kind_of_loop_can_be_stopped(loop: str, half: int) -> None:
    run = Program(assemble(loop), upper=half == UPPER)
    run.write(DATA, assemble(f"start: jmp start - {DATA - CODE}"))
    for _ in range(2):
        timer = threading.Timer(0.05, run.kick)
        timer.start()
        stopped_itself = run.run()
        timer.join()
        assert not stopped_itself or "stosb" in loop  # which runs into memory that is not its own
