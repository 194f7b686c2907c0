"""Both ends of a ring of bytes, against each other and against one that lies."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from xenia.rings.fault import RingFault
from xenia.rings.pipe import Reader, Writer

CONS, PROD = 0, 1
index = st.one_of(st.integers(0, 0xFFFFFFFF), st.integers(0, 64), st.integers(0xFFFFFFC0, 0xFFFFFFFF))


class Ends:
    """A ring with what lies beside it, and both of its ends."""

    def __init__(self, size: int, start: int) -> None:
        self.memory = bytearray(b"\xee" * (size + 32))
        self.shared = bytearray(8)
        self.words = memoryview(self.shared).cast("I")
        self.words[CONS] = self.words[PROD] = start
        data = memoryview(self.memory)[16 : 16 + size]
        self.reader = Reader(data[:], self.words[:], prod=PROD, cons=CONS)
        self.writer = Writer(data, self.words[:], prod=PROD, cons=CONS)

    @property
    def is_whole(self) -> bool:
        """Whether nothing beside the ring was written to."""
        return self.memory[:16] == self.memory[-16:] == b"\xee" * 16


@settings(deadline=None)
@given(
    order=st.integers(0, 10),
    start=index,
    pieces=st.lists(st.one_of(st.none(), st.binary(max_size=70)), max_size=20),
)
def test_what_is_put_is_taken_in_order_from_any_index(order: int, start: int, pieces: list[bytes | None]) -> None:
    ends = Ends(1 << order, start)
    put, taken = b"", b""
    for piece in pieces:
        if piece is None:
            taken += ends.reader.take()
            assert taken == put
        else:
            free = (1 << order) - (len(put) - len(taken))
            count = ends.writer.put(piece)
            assert count == min(len(piece), free)
            put += piece[:count]
        assert ends.reader.has_bytes == (len(put) > len(taken))
    assert taken + ends.reader.take() == put
    assert ends.words[CONS] == ends.words[PROD] == (start + len(put)) & 0xFFFFFFFF
    assert ends.is_whole


@settings(deadline=None)
@given(order=st.integers(0, 10), cons=index, prod=index)
def test_indices_that_cannot_be_are_a_fault_and_change_nothing(order: int, cons: int, prod: int) -> None:
    ends = Ends(1 << order, 0)
    ends.words[CONS], ends.words[PROD] = cons, prod
    if (prod - cons) & 0xFFFFFFFF <= 1 << order:
        assert ends.writer.put(b"x" * 2000) + ((prod - cons) & 0xFFFFFFFF) == 1 << order
        assert len(ends.reader.take()) == 1 << order
    else:
        before = bytes(ends.memory)
        with pytest.raises(RingFault):
            ends.reader.take()
        with pytest.raises(RingFault):
            ends.writer.put(b"x")
        assert (ends.words[CONS], ends.words[PROD], bytes(ends.memory)) == (cons, prod, before)
    assert ends.is_whole


def test_a_pipe_that_is_closed_holds_nothing() -> None:
    ends = Ends(16, 0)
    ends.writer.put(b"kept")
    for end in (ends.reader, ends.writer):
        end.close()
    ends.words.release()
    ends.memory.extend(b"\0")  # a buffer that is still exported cannot be resized
    ends.shared.extend(b"\0")
    assert ends.memory[16:20] == b"kept"
