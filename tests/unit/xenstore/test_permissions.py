from __future__ import annotations

import pytest

from xenia.abi.xs_wire import XsdError
from xenia.xenstore.error import StoreError
from xenia.xenstore.permissions import Access, Identity, Permissions

OF_5 = Permissions.parse([b"n5", b"r6", b"b7", b"w8"])


def test_permissions_are_spelt_as_they_were_read() -> None:
    assert OF_5.entries() == ["n5", "r6", "b7", "w8"]


@pytest.mark.parametrize(
    "entries", [[], [b""], [b"r"], [b"x1"], [b"r-1"], [b"r65536"], [b"r1 "], [b"R1"], [b"n0", b""]]
)
def test_malformed_permissions_are_invalid(entries: list[bytes]) -> None:
    with pytest.raises(StoreError) as refused:
        Permissions.parse(entries)
    assert refused.value.error is XsdError.EINVAL


@pytest.mark.parametrize(
    ("identity", "reads", "writes"),
    [
        (Identity(0), True, True),
        (Identity(5), True, True),
        (Identity(6), True, False),
        (Identity(7), True, True),
        (Identity(8), False, True),
        (Identity(9), False, False),
        (Identity(9, target=5), True, True),
        (Identity(9, target=6), True, False),
        (Identity(6, target=7), True, False),
    ],
)
def test_who_may_do_what(identity: Identity, reads: bool, writes: bool) -> None:
    assert identity.may(Access.READ, OF_5) is reads
    assert identity.may(Access.WRITE, OF_5) is writes
    assert identity.may(Access.BOTH, OF_5) is (reads and writes)


def test_the_first_letter_is_for_everybody_else() -> None:
    assert Identity(9).may(Access.READ, Permissions.parse([b"r5"]))
    assert not Identity(9).may(Access.READ, Permissions.parse([b"r5", b"n9"]))


def test_a_domain_that_is_gone_is_named_no_more() -> None:
    assert OF_5.without(7).entries() == ["n5", "r6", "w8"]
    assert OF_5.without(5).entries() == ["n0", "r6", "b7", "w8"]
    assert OF_5.without(1) is OF_5
