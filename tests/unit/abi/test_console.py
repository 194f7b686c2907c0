"""The layout of public/io/console.h."""

from __future__ import annotations

from xenia.abi import console


def test_the_rings_and_their_indices_follow_each_other() -> None:
    assert console.OUT_OFFSET == console.IN_OFFSET + console.IN_SIZE
    assert console.IN_CONS_OFFSET == console.OUT_OFFSET + console.OUT_SIZE
    offsets = [console.IN_CONS_OFFSET, console.IN_PROD_OFFSET, console.OUT_CONS_OFFSET, console.OUT_PROD_OFFSET]
    assert offsets == list(range(3072, 3088, 4))
    assert console.INTERFACE_SIZE == 3088
