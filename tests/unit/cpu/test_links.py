"""What the emulated engine remembers of jumps from page to page; that it remembers rightly is in tests/conformance."""

import struct

from tests.assembler import assemble
from xenia.testing.bare import CODE, DATA, UPPER, Program

RBX = 3
AT = 0x100000
LEAVE = "xor %eax, %eax; syscall"


def program(source: str, *, upper: bool = True) -> Program:
    made = Program(assemble(f"start: {source}; {LEAVE}"), upper=upper)
    made.write(DATA, assemble("incq %rbx; ret"))
    return made


def test_a_kernels_call_to_another_page_is_looked_up_once() -> None:
    run = program(f"mov $1000, %ebp; 1: call start + {DATA - CODE}; dec %ebp; jnz 1b")
    assert run.run()
    assert run.gpr[RBX] == 1000
    # The call is in two blocks: the first goes through the loop's head, the second begins at it.
    assert 1 <= run.statistics["links"] <= 2


def test_below_the_upper_half_nothing_is_linked() -> None:
    run = program(f"mov $9, %ebp; 1: call start + {DATA - CODE}; dec %ebp; jnz 1b", upper=False)
    assert run.run()
    assert (run.gpr[RBX], run.statistics["links"]) == (9, 0)


def test_more_calls_than_there_is_room_for_all_arrive() -> None:
    calls = 66000  # room is for 65536
    run = program(f"mov $2, %ebp; 1: call start + {AT - CODE}; dec %ebp; jnz 1b")
    code = b"".join(b"\xe8" + struct.pack("<i", DATA - (AT + 5 * number + 5)) for number in range(calls))
    run.write(AT, code + assemble("ret"))
    assert run.run()
    assert run.gpr[RBX] == 2 * calls
    assert run.rip > UPPER
    assert run.statistics["links"] > calls
