"""The M2P of a new domain."""

from array import array

import pytest

from xenia.domain.build.p2m import fill_m2p


def test_every_frame_gets_its_pfn_and_others_are_left_alone() -> None:
    m2p = array("Q", [99] * 8)
    fill_m2p(memoryview(m2p), array("Q", [5, 0, 7]))
    assert list(m2p) == [1, 99, 99, 99, 99, 0, 99, 2]


def test_a_frame_outside_of_the_m2p_is_refused_with_nothing_written() -> None:
    m2p = array("Q", [99] * 4)
    with pytest.raises(ValueError, match="pfn 1: frame 0x4 lies outside"):
        fill_m2p(memoryview(m2p), array("Q", [0, 4]))
    assert list(m2p) == [99] * 4
