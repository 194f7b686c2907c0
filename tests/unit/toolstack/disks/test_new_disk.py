"""The disk that an image is built on: whole or not there."""

from pathlib import Path

import pytest

from xenia.errors import ConfigError
from xenia.storage.stack import open_stack
from xenia.toolstack.disks.new_disk import new_disk, refuse_overlays

SIZE = 1 << 20


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def names() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


@pytest.mark.parametrize("disk", ["root.img", "root.qcow2", "file:root.img,compress", r"qcow2:a\,b.qcow2:version=2"])
def test_a_disk_appears_when_it_is_whole(disk: str) -> None:
    with new_disk(disk, SIZE) as words:
        assert all(name.startswith(".") for name in names())
        with open_stack(words) as layer:
            assert layer.size == SIZE
            layer.pwrite(b"made", 4096)
    assert len(names()) == 1
    with open_stack(disk) as layer:
        assert layer.pread(4096, 4) == b"made" and layer.size == SIZE


def test_where_it_cannot_be_made_there_is_nothing_and_what_was_there_stays() -> None:
    with pytest.raises(RuntimeError), new_disk("root.img", SIZE):
        raise RuntimeError
    assert names() == []
    Path("root.img").write_bytes(b"old")
    with pytest.raises(RuntimeError), new_disk("root.img", SIZE, overwrite=True):
        raise RuntimeError
    assert Path("root.img").read_bytes() == b"old"


def test_a_file_is_replaced_only_when_that_is_asked_for() -> None:
    Path("root.img").write_bytes(b"old")
    with pytest.raises(ConfigError, match=r"root\.img exists already \(--force"), new_disk("root.img", SIZE):
        pass
    with new_disk("root.img", SIZE, overwrite=True):
        assert Path("root.img").read_bytes() == b"old"
    assert Path("root.img").stat().st_size == SIZE


def test_a_disk_over_another_and_a_directory_that_is_not_there_are_refused() -> None:
    with pytest.raises(ConfigError, match="built from nothing"):
        refuse_overlays("file:root.img,cow")
    with (
        pytest.raises(ConfigError, match=r"cannot write nowhere/root\.img: No such file"),
        new_disk("nowhere/root.img", SIZE),
    ):
        pass
