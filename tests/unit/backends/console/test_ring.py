from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given, strategies as st

from xenia.abi import console
from xenia.backends.console.ring import ConsoleRing
from xenia.rings.fault import RingFault

Frontend = Any
index = st.one_of(st.integers(0, 0xFFFFFFFF), st.integers(0, 4096), st.integers(0xFFFFF000, 0xFFFFFFFF))


@pytest.mark.parametrize("start", [0, 1000, 2047, 0xFFFFFFFF, 0xFFFFF800])
def test_bytes_go_both_ways_from_any_index(frontend: Frontend, start: int) -> None:
    for offset in range(console.IN_CONS_OFFSET, console.INTERFACE_SIZE, 4):
        frontend.word(offset, start)
    ring = ConsoleRing(frontend.view)
    data = os.urandom(3000)
    assert frontend.put(data) == console.OUT_SIZE
    assert ring.output.take() == data[: console.OUT_SIZE]
    assert ring.output.take() == b""
    assert ring.input.put(data) == console.IN_SIZE
    assert ring.input.put(b"x") == 0
    assert frontend.take() == data[: console.IN_SIZE]


@given(words=st.tuples(index, index, index, index))
def test_any_indices_give_at_most_a_ring_of_bytes_or_a_fault(words: tuple[int, int, int, int]) -> None:
    page = bytearray(4096)
    memoryview(page)[console.IN_CONS_OFFSET : console.INTERFACE_SIZE].cast("I")[:] = memoryview(
        b"".join(word.to_bytes(4, "little") for word in words)
    ).cast("I")
    in_cons, in_prod, out_cons, out_prod = words
    ring = ConsoleRing(memoryview(page))
    if (out_prod - out_cons) % 2**32 > console.OUT_SIZE:
        with pytest.raises(RingFault):
            ring.output.take()
    else:
        assert len(ring.output.take()) == (out_prod - out_cons) % 2**32
    if (in_prod - in_cons) % 2**32 > console.IN_SIZE:
        with pytest.raises(RingFault):
            ring.input.put(b"x")
    else:
        assert ring.input.put(b"\xff" * 2000) == console.IN_SIZE - (in_prod - in_cons) % 2**32
    assert page[console.OUT_OFFSET : console.IN_CONS_OFFSET] == bytes(console.OUT_SIZE)
    assert page[console.INTERFACE_SIZE :] == bytes(4096 - console.INTERFACE_SIZE)
