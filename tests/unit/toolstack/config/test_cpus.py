"""Processors in xl's words."""

from __future__ import annotations

import pytest

from xenia import ConfigError
from xenia.toolstack.config.cpus import each_vcpu, parse_affinity, parse_cpus


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("0", {0}), ("0-3", {0, 1, 2, 3}), ("0-3,^1", {0, 2, 3}), ("all", {0, 1, 2, 3}), ("1,3", {1, 3}),
        ("all,^0", {1, 2, 3}), ("2-9", {2, 3}), ("nodes:0", {0, 1, 2, 3}), ("node:0,^0-1", {2, 3}),
        ("nodes:0-1", {0, 1, 2, 3}), ("all,^nodes:1", {0, 1, 2, 3}),
    ],
)  # fmt: skip
def test_processors_are_named_by_numbers_ranges_and_what_is_left_out(text: str, meant: set[int]) -> None:
    assert parse_cpus(text, 4) == meant


@pytest.mark.parametrize("text", ["", "4", "^0", "0,^0", "node:1", "7-8"])
def test_none_that_is_there_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="names no processor that is there: the machine has 0 to 3"):
        parse_cpus(text, 4)


@pytest.mark.parametrize("text", ["x", "1-", "-1", "3-1", "1 2", "0x1", "node:", "any", "1" * 5000])
def test_what_cannot_be_understood_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=f"Invalid cpu range: {text}"):
        parse_cpus(text, 4)


def test_a_dash_leaves_it_as_it_was_and_a_list_is_for_one_vcpu_after_the_other() -> None:
    assert parse_affinity("-", 4) is None and parse_affinity("0", 4) == frozenset({0})
    assert list(each_vcpu("0-1", 2)) == [(None, "0-1")]
    assert list(each_vcpu("0;1;2", 2)) == [(0, "0"), (1, "1")]
    assert list(each_vcpu(";1", 2)) == [(0, "-"), (1, "1")]
    assert list(each_vcpu("", 2)) == []
