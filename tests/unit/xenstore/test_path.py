from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from xenia.abi.xs_wire import XENSTORE_ABS_PATH_MAX, XENSTORE_REL_PATH_MAX, XsdError
from xenia.xenstore.error import StoreError
from xenia.xenstore.path import ROOT, Path, Special, domain_path, parse_name

HOME = domain_path(3)


@pytest.mark.parametrize("text", [b"/", b"/a", b"/local/domain/3/device-misc/x_y@z", b"/" + b"a" * 3071])
def test_an_absolute_path_is_spelt_as_it_was_read(text: bytes) -> None:
    assert str(Path.parse(text)).encode() == text


def test_a_relative_path_begins_at_the_domains_home() -> None:
    path = Path.parse(b"device/vif", HOME)
    assert str(path) == "/local/domain/3/device/vif"
    assert path.relative_to(HOME) == "device/vif"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"//",
        b"/a/",
        b"/a//b",
        b"a/",
        b"/a b",
        b"/a\n",
        b"/\xc3\xa4",
        b"/a.b",
        b"@introduceDomain",
        b"a//b",
        b"/" + b"a" * XENSTORE_ABS_PATH_MAX,
        b"a" * (XENSTORE_REL_PATH_MAX + 1),
    ],
)
def test_what_is_no_path_is_invalid(text: bytes) -> None:
    with pytest.raises(StoreError) as refused:
        Path.parse(text, HOME)
    assert refused.value.error is XsdError.EINVAL


def test_a_relative_path_without_a_base_is_invalid() -> None:
    with pytest.raises(StoreError):
        Path.parse(b"a")


def test_within_means_at_or_below() -> None:
    path = Path.parse(b"/a/b")
    assert path.is_within(ROOT)
    assert path.is_within(path)
    assert not path.is_within(Path.parse(b"/a/bc"))
    assert not Path.parse(b"/a").is_within(path)


def test_a_special_name_is_no_path() -> None:
    assert parse_name(b"@releaseDomain", HOME) == Special("@releaseDomain")
    with pytest.raises(StoreError):
        parse_name(b"@", HOME)


@given(st.binary(max_size=64))
def test_any_bytes_are_a_path_or_invalid(text: bytes) -> None:
    try:
        path = Path.parse(text, HOME)
    except StoreError as refused:
        assert refused.error is XsdError.EINVAL
    else:
        assert Path.parse(str(path).encode()) == path
