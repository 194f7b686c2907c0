"""Checkpoints: names for states, and going back."""

from pathlib import Path

import pytest

from xenia.errors import ConfigError
from xenia.storage.checkpoint import TREE, Checkpoints
from xenia.storage.file import RawFile, create_file, open_file


@pytest.fixture
def base(tmp_path: Path) -> Path:
    with create_file(tmp_path / "base", 1 << 20) as file:
        file.pwrite(b"base", 0)
    return tmp_path / "base"


def opened(base: Path) -> Checkpoints:
    return Checkpoints(open_file(base, read_only=True), base.with_name("checkpoints"))


def test_going_back_gives_the_state_of_then(base: Path) -> None:
    disk = opened(base)
    disk.checkpoint("empty")
    disk.pwrite(b"one!", 0)
    disk.checkpoint("one")
    disk.pwrite(b"two!", 0)
    disk.rollback("one")
    assert disk.pread(0, 4) == b"one!"
    disk.rollback("empty")
    assert disk.pread(0, 4) == b"base"
    disk.rollback("one")
    assert disk.pread(0, 4) == b"one!"
    disk.close()


def test_checkpoints_form_a_tree_that_outlives_the_process(base: Path) -> None:
    disk = opened(base)
    for name in ("a", "b"):
        disk.pwrite(name.encode(), 100)
        disk.checkpoint(name)
    disk.rollback("a")
    disk.pwrite(b"c", 100)
    disk.checkpoint("c")
    disk.close()
    disk = opened(base)
    assert [(one.name, one.parent, one.current) for one in disk.checkpoints] == [
        ("a", None, False), ("b", "a", False), ("c", "a", True),
    ]  # fmt: skip
    for name in ("b", "c", "a"):
        disk.rollback(name)
        assert disk.pread(100, 1) == name.encode()
    disk.close()
    assert base.read_bytes()[:4] == b"base"


def test_what_nobody_needs_any_more_goes(base: Path) -> None:
    disk = opened(base)
    disk.checkpoint("a")
    disk.checkpoint("b")
    assert len(disk.files) == 3
    for _ in range(3):
        disk.rollback("a")
    assert len(disk.files) == len(list(base.with_name("checkpoints").glob("*.qcow2"))) == 3
    disk.forget("b")
    assert len(disk.files) == len(list(base.with_name("checkpoints").glob("*.qcow2"))) == 2
    disk.close()


def test_names_are_one_of_a_kind_and_known(base: Path) -> None:
    disk = opened(base)
    disk.checkpoint("a")
    for wrong in ("a", "", "x\n", "n" * 256):
        with pytest.raises(ConfigError):
            disk.checkpoint(wrong)
    with pytest.raises(ConfigError, match="there is no checkpoint 'b' \\('a'\\)"):
        disk.rollback("b")
    disk.close()


def test_a_directory_belongs_to_one_process(base: Path) -> None:
    disk = opened(base)
    with pytest.raises(ConfigError, match="is in use"):
        opened(base)
    disk.close()


def test_leftovers_of_something_cut_off_are_removed(base: Path) -> None:
    disk = opened(base)
    disk.pwrite(b"kept", 0)
    disk.close()
    stray = base.with_name("checkpoints") / "2.qcow2"
    stray.write_bytes(b"half an overlay")
    disk = opened(base)
    assert not stray.exists()
    disk.checkpoint("a")
    assert disk.pread(0, 4) == b"kept"
    disk.close()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"current": 9, "parents": {"1": null}, "names": {}, "made": {}}',
    '{"current": 1, "parents": {"1": 1}, "names": {}, "made": {}}'])  # fmt: skip
def test_a_tree_that_makes_no_sense_is_refused(base: Path, text: str) -> None:
    opened(base).close()
    (base.with_name("checkpoints") / TREE).write_text(text)
    with pytest.raises(ConfigError, match="is damaged"):
        opened(base)


def test_a_checkpoint_remembers_the_size(base: Path) -> None:
    disk = opened(base)
    disk.checkpoint("small")
    disk.resize(2 << 20)
    disk.pwrite(b"end", (2 << 20) - 3)
    disk.checkpoint("large")
    sizes: list[int] = []
    disk.watch(sizes.append)
    disk.rollback("small")
    disk.rollback("large")
    assert sizes == [1 << 20, 2 << 20]
    assert disk.pread((2 << 20) - 3, 3) == b"end"
    disk.close()
    assert isinstance(disk.lower, RawFile) and disk.lower.closed
