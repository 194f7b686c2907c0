"""Sizes are read by one rule."""

import pytest

from xenia.cli.parser import build_parser
from xenia.errors import ConfigError
from xenia.storage.kinds import KINDS
from xenia.storage.size import parse_size
from xenia.storage.stack import open_stack

MIB = 1 << 20
SIZES = [
    ("64M", 64 * MIB), ("64m", 64 * MIB), ("256MB", 256 * MIB), ("256Mi", 256 * MIB), ("256MiB", 256 * MIB),
    ("256mib", 256 * MIB), ("0.5G", 512 * MIB), ("1.5M", 3 << 19), ("1G", 1 << 30), ("2GiB", 2 << 30),
    ("65536K", 64 * MIB), ("8388608", 8 * MIB), ("8388608B", 8 * MIB), (" 8M ", 8 * MIB), ("1T", 1 << 40),
    ("0.1G", 107376640),  # up to the next page
]  # fmt: skip


@pytest.mark.parametrize(("text", "size"), SIZES)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(("text", "size"), [size for size in SIZES if size[1] < 1 << 40])
def test_memory_and_disks_are_measured_alike(text: str, size: int) -> None:
    assert build_parser().parse_args(["run", "--memory", text]).memory == size
    with open_stack(f"memory:{text.strip()}") as disk:
        assert disk.size == size


@pytest.mark.parametrize(
    "text",
    ["", "M", "K", "-1", "-1M", "1.5", "lots", "1X", "1P", "0x10M", "1 G", "64MM", "1e9", "99999999T", "9" * 5000],
)
def test_what_is_no_size_is_refused_in_one_line_that_quotes_it(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_size(text)
    assert f"'{text}'" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_no_size_is_no_value_of_a_layer() -> None:
    assert "size" in KINDS["cache"].options
    with pytest.raises(ConfigError, match="'1Q' is not a value for size"):
        open_stack("memory:1M,cache:size=1Q")
