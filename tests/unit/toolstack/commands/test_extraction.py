"""Archives of hostile guests: nothing is written but below one folder, and nothing of it before all is there."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from xenia.errors import ConfigError
from xenia.testing.containers import file, folder, layer, link, symlink
from xenia.toolstack.commands import extraction
from xenia.toolstack.commands.extraction import Copied, Extraction
from xenia.toolstack.tar import DAMAGED_TAR, Header

Member = tuple[tarfile.TarInfo, bytes]


def unpack(
    data: bytes, target: Path, recursive: bool = True, progress: Callable[[int], object] = lambda _: None
) -> Copied:
    copied = Copied(progress)
    with Extraction(target, recursive, copied) as new:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r|", tarinfo=Header) as tar:
            new.take(tar)
        new.put_in_place()
    return copied


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    return tmp_path / "outside" / "target"


HOSTILE: list[list[Member]] = [
    [file("../evil")],
    [file("a/../../evil")],
    [folder("a"), file("a/../../evil")],
    [file("nowhere/evil")],
    [symlink("link", "."), file("link/evil")],
    [symlink("link", "../.."), file("link/evil")],
    [folder("a"), symlink("a/up", ".."), file("a/up/evil")],
    [file("twice", b"1"), file("twice", b"2")],
    [folder("a"), symlink("a", ".")],
    [file("a"), folder("a")],
    [folder(".")],
    [folder("/".join("d" * depth)) for depth in range(1, 300)],
    [file("\0evil")],
    [file("n" * 300)],
]


@pytest.mark.parametrize("members", HOSTILE, ids=range(len(HOSTILE)))
def test_what_would_go_elsewhere_or_makes_no_sense_brings_nothing(members: list[Member], target: Path) -> None:
    with pytest.raises((ConfigError, *DAMAGED_TAR)):
        unpack(layer(folder("."), *members), target)
    assert os.listdir(target.parent) == []
    assert os.listdir(target.parent.parent) == ["outside"]


def test_links_that_lead_out_are_left_out_and_what_they_lead_to_is_untouched(target: Path) -> None:
    out = [
        symlink("absolute", "/etc/passwd"), symlink("above", ".."), symlink("far", "a/../../x"), symlink("empty", ""),
        symlink("round", "a/up/.."), link("hard", "/etc/passwd"), link("up", "../outside"), link("to link", "inside"),
        link("folder", "a"),
    ]  # fmt: skip
    device = tarfile.TarInfo("device")
    device.type, device.devmajor, device.devminor = tarfile.CHRTYPE, 1, 3
    inside = [folder("a"), file("a/f", b"f"), symlink("inside", "a/f"), symlink("a/up", ".."), symlink("a/too", "../a")]
    copied = unpack(layer(folder("."), *inside, *out, (device, b"")), target)
    assert len(copied.left_out) == len(out) + 1
    assert sorted(str(path.relative_to(target)) for path in target.rglob("*")) == [
        "a", "a/f", "a/too", "a/up", "inside",
    ]  # fmt: skip
    assert all(path.resolve().is_relative_to(target) for path in target.rglob("*"))


def test_one_file_was_asked_for_and_one_is_taken(target: Path) -> None:
    for members in ([file("a"), file("b")], [folder("a")], [symlink("a", "b")], [link("a", "b")], [folder(".")]):
        with pytest.raises(ConfigError, match=r"something else|belongs nowhere"):
            unpack(layer(*members), target, recursive=False)
    assert os.listdir(target.parent) == []
    unpack(layer(file("../../whatever it says", b"data")), target, recursive=False)
    assert target.read_bytes() == b"data"


def test_no_link_of_the_users_own_in_a_folder_is_followed(target: Path, tmp_path: Path) -> None:
    target.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (target / "way").symlink_to(tmp_path / "elsewhere")
    (target / "file").symlink_to(tmp_path / "elsewhere" / "new")
    with pytest.raises(ConfigError):
        unpack(layer(folder("."), folder("way"), file("way/evil")), target)
    unpack(layer(folder("."), file("file", b"mine")), target)
    assert os.listdir(tmp_path / "elsewhere") == []
    assert not (target / "file").is_symlink()


def test_modes_bring_no_rights_to_others_and_none_that_only_root_gives(target: Path) -> None:
    unpack(layer(folder(".", 0o7777), file("a", mode=0o6777), file("b", mode=0o466), file("c", mode=0o077)), target)
    modes = {path.name: path.stat().st_mode & 0o7777 for path in (target, *target.iterdir())}
    assert modes == {"target": 0o755, "a": 0o755, "b": 0o444, "c": 0o444}


def test_a_time_that_is_none_is_the_first(target: Path) -> None:
    for number, time in enumerate((float("nan"), float("inf"), -1e300, 1e300)):
        member, data = file("x")
        member.mtime = 0
        member.pax_headers = {"mtime": str(time)}
        unpack(layer((member, data)), target.parent / str(number), recursive=False)
        assert (target.parent / str(number)).stat().st_mtime == 0


@pytest.mark.parametrize("seed", range(30))
def test_an_archive_with_anything_in_it_ends_cleanly(seed: int, target: Path) -> None:
    random = Random(seed)
    members = [folder("."), folder("a"), file("a/" + "n" * 150, b"d" * 5000), symlink("l", "a"), link("h", "a/x")]
    data = bytearray(layer(*members))
    for _ in range(random.randrange(1, 12)):
        data[random.randrange(len(data))] = random.randrange(256)
    try:
        unpack(bytes(data[: random.choice((len(data), random.randrange(len(data))))]), target)
    except (ConfigError, *DAMAGED_TAR):
        assert not target.exists()
    assert set(os.listdir(target.parent)) <= {"target"}
    assert os.listdir(target.parent.parent) == ["outside"]


def test_another_name_of_what_is_left_out_is_left_out(target: Path) -> None:
    fifo = tarfile.TarInfo("fifo")
    fifo.type = tarfile.FIFOTYPE
    copied = unpack(layer(folder("."), (fifo, b""), link("again", "fifo"), file("b", b"b")), target)
    assert [what.partition(":")[0] for what in copied.left_out] == ["fifo", "again"]
    assert os.listdir(target) == ["b"]


def test_a_link_of_the_users_own_to_a_folder_is_not_replaced_by_a_file(target: Path, tmp_path: Path) -> None:
    """He copied all of a guest, which sends a file."""
    (tmp_path / "folder").mkdir()
    target.symlink_to(tmp_path / "folder")
    with pytest.raises(ConfigError, match="a folder is there"):
        unpack(layer(file("a", b"a")), target)
    assert target.is_symlink() and os.listdir(tmp_path / "folder") == []
    unpack(layer(folder("."), file("a", b"a")), target)
    assert target.is_symlink() and os.listdir(tmp_path / "folder") == ["a"]


def test_who_swaps_what_is_being_unpacked_gets_nothing_written_elsewhere(target: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()

    def swap(_: int) -> None:
        if not (tmp_path / "stolen").exists():
            (stage,) = target.parent.iterdir()
            stage.rename(tmp_path / "stolen")
            stage.mkdir()
            (stage / "root").symlink_to(tmp_path / "elsewhere")

    unpack(layer(folder("."), file("a", b"a"), folder("b"), file("b/c", b"c")), target, progress=swap)
    assert sorted(str(path.relative_to(target)) for path in target.rglob("*")) == ["a", "b", "b/c"]
    assert os.listdir(tmp_path / "elsewhere") == []


def test_folders_beyond_number_or_with_names_beyond_measure_bring_nothing(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = layer(folder("."), folder("first"), folder("first/second"))
    for limit in ("_MOST_FOLDERS", "_MOST_NAMED"):
        with monkeypatch.context() as less:
            less.setattr(extraction, limit, 2)
            with pytest.raises(ConfigError, match="more than"):
                unpack(data, target)
    assert os.listdir(target.parent) == []
