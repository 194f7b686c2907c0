"""Who has which domain number."""

from xenia.abi.xen import DOMID_FIRST_RESERVED
from xenia.testing.still import Others

LAST = DOMID_FIRST_RESERVED - 1


def test_numbers_are_those_below_xens_own_and_each_is_given_out_once() -> None:
    others = Others()
    assert [others.reserve(LAST - 1) for _ in range(3)] == [LAST - 1, LAST, 1]
    assert sorted(others.reserve(2) for _ in range(LAST - 3)) == list(range(2, LAST - 1))
    assert others.reserve(1) == -1
    assert others.reserve(LAST) == -1
