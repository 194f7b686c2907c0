"""Files that are copied, with a guest that is this host: its shell and its tar do the guest's part."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.toolstack.commands.here import may_mount, sends, start, with_mounts
from xenia.errors import ConfigError
from xenia.testing.containers import file, layer
from xenia.toolstack.commands.copy import copy_in, copy_out, stream_in, stream_out
from xenia.toolstack.commands.mounts import made_up_here

TIME = 1_000_000_000


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with all that is copied."""
    root = tmp_path / "a tree"
    (root / "inner folder" / ".hidden").mkdir(parents=True)
    (root / "-f").write_bytes(b"dash")
    (root / "inner folder" / "a  b\nc").write_bytes(b"blanks")
    (root / "inner folder" / ".hidden" / ("n" * 200)).write_bytes(b"long")
    (root / "with\u00e9\udce9").write_bytes(b"not text")
    (root / "link").symlink_to("inner folder/.hidden")
    os.link(root / "-f", root / "again")
    (root / "holes").write_bytes(b"")
    os.truncate(root / "holes", 8 << 20)
    (root / "program").write_bytes(os.urandom(3 << 20))
    (root / "program").chmod(0o755)
    (root / "secret").write_bytes(b"s")
    (root / "secret").chmod(0o400)
    for path in (*root.rglob("*"), root):
        os.utime(path, (TIME, TIME), follow_symlinks=False)
    return root


def told(root: Path) -> dict[str, tuple[str | bytes, int, int]]:
    """What is in a folder."""
    found: dict[str, tuple[str | bytes, int, int]] = {}
    for path in (root, *sorted(root.rglob("*"))):
        looked = path.lstat()
        what: str | bytes = (
            os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else "folder"
        )
        found[str(path.relative_to(root))] = (what, stat.S_IMODE(looked.st_mode), int(looked.st_mtime))
    return found


def left_over(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.startswith(".xenia-cp")]


def test_a_tree_goes_in_and_comes_out_as_it_was(tree: Path, tmp_path: Path) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    there.mkdir()
    copied = copy_in(start, [tree], str(there), recursive=True)
    assert told(there / "a tree") == told(tree)
    assert (copied.files, copied.left_out) == (len(told(tree)), [])
    copy_out(start, str(there / "a tree"), back, recursive=True)
    assert told(back) == told(tree)
    assert (back / "again").samefile(back / "-f")
    assert (back / "holes").stat().st_blocks == 0
    assert not left_over(there) and not left_over(tmp_path)


def test_a_file_gets_a_new_name_or_goes_into_a_folder_and_takes_the_place_of_another(tmp_path: Path) -> None:
    source, folder = tmp_path / "a b", tmp_path / "folder"
    source.write_bytes(b"new")
    folder.mkdir()
    (folder / "old").write_bytes(b"old")
    copy_in(start, [source], str(folder / "old"))
    copy_in(start, [source], f"{folder}/")
    copy_out(start, str(source), folder / "out")
    copy_out(start, str(source), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == dict.fromkeys(("old", "a b", "out"), b"new")


def test_a_folder_goes_into_one_of_its_name_and_what_else_is_there_stays(tree: Path, tmp_path: Path) -> None:
    for number in range(2):
        there = tmp_path / str(number)
        (there / "a tree" / "inner folder").mkdir(parents=True)
        (there / "a tree" / "inner folder" / "mine").write_bytes(b"mine")
        (there / "a tree" / "program").write_bytes(b"old")
        if number == 0:
            copy_in(start, [tree], str(there), recursive=True)
        else:
            copy_out(start, str(tree), there, recursive=True)
        found = told(there / "a tree")
        assert found.pop("inner folder/mine")[0] == b"mine"
        assert {name: what[0] for name, what in found.items()} == {name: what[0] for name, what in told(tree).items()}


def test_what_is_in_a_folder_goes_into_another_both_ways(tree: Path, tmp_path: Path) -> None:
    ways: dict[str, Callable[[Path], object]] = {
        "in": lambda to: copy_in(start, [f"{tree}/."], str(to), recursive=True),
        "out": lambda to: copy_out(start, f"{tree}/.", to, recursive=True),
    }
    for name, copy in ways.items():
        there, new = tmp_path / name, tmp_path / f"new {name}"
        there.mkdir()
        (there / "mine").write_bytes(b"mine")
        copy(there)
        found = told(there)
        assert found.pop("mine")[0] == b"mine"
        assert {key: value for key, value in found.items() if key != "."} == {
            key: value for key, value in told(tree).items() if key != "."
        }
        copy(new)  # or is the folder itself, by another name
        assert told(new) == told(tree)
    copy_in(start, [f"{tree}/.", tree / "program", f"{tree}/inner folder/."], str(tmp_path / "out"), recursive=True)
    assert (tmp_path / "out" / "a  b\nc").read_bytes() == b"blanks"
    assert not left_over(tmp_path / "in") and not left_over(tmp_path)


def test_what_cannot_be_is_one_line_and_changes_nothing(tree: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "a tree").mkdir(parents=True)
    (folder / "program").mkdir()
    os.mkfifo(tmp_path / "fifo")
    program, name = tree / "program", str(tmp_path)
    refusals: tuple[tuple[Callable[[], object], str], ...] = (
        (lambda: copy_in(start, [tmp_path / "none"], name), "no such file"),
        (lambda: copy_in(start, [tree], name), "-r copies"),
        (lambda: copy_in(start, [program], f"{name}/none/x"), "no such folder in the guest"),
        (lambda: copy_in(start, [program], f"{name}/none/"), "no such folder in the guest"),
        (lambda: copy_in(start, [program, tree / "-f"], f"{name}/none"), "no such folder in the guest"),
        (lambda: copy_in(start, [program, program], name), "the same name"),
        (lambda: copy_in(start, [tmp_path / "fifo"], name), "a fifo, no file"),
        (lambda: copy_in(start, [program], str(folder)), "a folder is there"),
        (lambda: copy_in(start, [program], "/proc/x"), "^/proc: nothing can be written there: No such file"),
        (lambda: copy_in(start, [program], f"{name}/fifo"), "neither a file nor a folder is there"),
        (lambda: copy_out(start, f"{name}/none", folder), "no such file in the guest"),
        (lambda: copy_out(start, str(tree), folder), "-r copies"),
        (lambda: copy_out(start, f"{name}/fifo", folder), "neither a file nor a folder"),
        (lambda: copy_out(start, str(program), tmp_path / "none" / "x"), "no such folder"),
        (lambda: copy_out(start, str(program), folder), "a folder is there"),
        (lambda: copy_out(start, str(program), tmp_path / "fifo"), "neither a file nor a folder is there"),
        (lambda: stream_out(start, f"{name}/none", 1), "no such file in the guest"),
        (lambda: copy_out(start, "/proc/cpuinfo", folder), "its size is told as nothing"),
    )
    for call, why in refusals:
        with pytest.raises(ConfigError, match=why) as refused:
            call()
        said = str(refused.value)
        assert "\n" not in said and said.count(f"{tmp_path}/") == said.count(str(tmp_path)) <= 1, said
    assert not left_over(folder) and not left_over(tmp_path)


def test_an_archive_passes_as_it_is(tree: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    with open(tmp_path / "archive.tar", "w+b") as archive:
        stream_out(start, str(tree), archive.fileno())
        archive.seek(0)
        stream_in(start, str(there), archive.fileno())
    assert told(there / "a tree") == told(tree)


def test_a_file_that_cannot_be_read_to_its_end_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It becomes shorter than it was while it is copied."""
    source, there = tmp_path / "log", tmp_path / "there"
    source.write_bytes(b"x" * (4 << 20))
    there.mkdir()

    def shorten(count: int) -> None:
        os.truncate(source, 1 << 20)

    with pytest.raises(ConfigError, match="unexpected end of data"):
        copy_in(start, [source], str(there), progress=shorten)
    assert not (there / "log").exists()


def test_what_ends_before_a_file_of_no_kind_and_without_end_is_no_archive(tmp_path: Path) -> None:
    root, huge = tarfile.TarInfo("."), tarfile.TarInfo("huge")
    root.type, huge.type, huge.size = tarfile.DIRTYPE, b"?", 1 << 80
    data = b"".join(member.tobuf(tarfile.GNU_FORMAT) for member in (root, huge))
    with pytest.raises(ConfigError, match="no archive"):
        copy_out(sends(data, status=0), "/", tmp_path, recursive=True)
    assert os.listdir(tmp_path) == []


def test_a_guests_tar_that_a_signal_ended_has_not_copied(tmp_path: Path) -> None:
    """Also where it is the signal of who writes and is not read: he was."""
    source = tmp_path / "file"
    source.write_bytes(b"data")
    archive = layer(file("file", b"data"))
    for number in (signal.SIGPIPE, signal.SIGKILL):
        with pytest.raises(ConfigError, match=f"ended by signal {number}"):
            copy_in(sends(b"", signal=number), [source], "/")
        with pytest.raises(ConfigError, match=f"ended by signal {number}"):
            copy_out(sends(archive, signal=number), "/file", tmp_path / "copy")
    stream_out(sends(b"", signal=signal.SIGPIPE), "/file", 1)
    assert os.listdir(tmp_path) == ["file"]
    copy_out(sends(archive, status=0), "/file", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"data"


def test_what_is_no_file_in_a_tree_is_told_by_a_word_and_the_rest_is_copied(tree: Path, tmp_path: Path) -> None:
    os.mkfifo(tree / "pipe")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tree / "inner folder" / "door"))
        there, back = tmp_path / "there", tmp_path / "back"
        there.mkdir()
        copied = copy_in(start, [tree], str(there), recursive=True)
        assert sorted(copied.left_out) == [f"{tree}/inner folder/door: a socket", f"{tree}/pipe: a fifo"]
        copied = copy_out(start, str(tree), back, recursive=True)
        assert sorted(copied.left_out) == ["inner folder/door: a socket", "pipe: a fifo"]
        with open(os.devnull, "wb") as nowhere:
            assert stream_out(start, str(tree), nowhere.fileno()).left_out == ["a tree/inner folder/door: a socket"]
    for name in ("pipe", "inner folder/door"):
        (tree / name).unlink()
    for path in (tree, tree / "inner folder", back, back / "inner folder"):
        os.utime(path, (TIME, TIME))
    assert told(back) == told(tree) and {*told(there / "a tree")} == {*told(tree)}


def test_of_many_that_are_left_out_the_first_are_told_and_all_are_counted(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    for number in range(100):
        os.mkfifo(tmp_path / "tree" / str(number))
    copied = copy_out(start, str(tmp_path / "tree"), tmp_path / "back", recursive=True)
    assert len(copied.left_out) == 20 and copied.nr_left_out == 100


@pytest.mark.skipif(not may_mount(), reason="users have no mounts of their own here")
@pytest.mark.parametrize("tar", ["tar", "busybox"])
def test_what_the_kernel_makes_up_is_left_out_where_it_is_mounted_in_a_folder(
    tree: Path, tmp_path: Path, tar: str
) -> None:
    """With any tar, for not each has options for that; whatever the folders are called; and nothing else is."""
    odd = "with %d [a] \\ b"
    for name in (f"{odd}/proc", f"{odd}/own", "dev", "one"):
        (tree / name).mkdir(parents=True)
    (tree / odd / "beside").write_bytes(b"beside")
    (tree / odd).chmod(0o700)
    program = tmp_path / "bin" / "tar"
    program.parent.mkdir()
    program.symlink_to(shutil.which(tar) or pytest.skip(f"no {tar} here"))
    guest = with_mounts(
        f"PATH='{program.parent}':$PATH; cd '{tree}'; mount -t tmpfs none dev; mkdir dev/pts; "
        f"mount -t devpts none dev/pts; mount -t proc none one; mount -t tmpfs none '{odd}/own'; "
        f"echo own >'{odd}/own/file'; mount -t proc none '{odd}/proc'"
    )
    copied = copy_out(guest, str(tree), tmp_path / "back", recursive=True)
    assert copied.left_out == []
    assert copied.passed_over == {f"{tree}/dev/pts": "devpts", f"{tree}/one": "proc", f"{tree}/{odd}/proc": "proc"}
    found = told(tmp_path / "back")
    assert found.pop(f"{odd}/own/file")[0] == b"own\n" and found.pop("dev/pts")[0] == "folder"
    assert {name: what[0] for name, what in found.items()} == {name: what[0] for name, what in told(tree).items()}
    assert found[odd][1] == 0o700 and found["inner folder"] == told(tree)["inner folder"]
    with open(tmp_path / "archive", "w+b") as archive:
        assert stream_out(guest, str(tree), archive.fileno()).passed_over == copied.passed_over
        archive.seek(0)
        with tarfile.open(fileobj=archive) as whole:
            names = [member.name for member in whole]
    found |= {f"{odd}/own/file": ("", 0, 0), "dev/pts": ("", 0, 0)}
    assert sorted(names) == sorted(f"./a tree/{name}".removesuffix("/.") for name in found)
    alone = copy_out(guest, f"{tree}/dev", tmp_path / "dev", recursive=True)
    assert alone.passed_over == {f"{tree}/dev/pts": "devpts"} and os.listdir(tmp_path / "dev") == ["pts"]
    with pytest.raises(ConfigError, match=r"one: the kernel makes its files up .*xenia exec"):
        copy_out(guest, f"{tree}/one", tmp_path / "one", recursive=True)
    assert not (tmp_path / "one").exists() and not left_over(tmp_path)


@pytest.mark.skipif(not may_mount(), reason="users have no mounts of their own here")
@pytest.mark.parametrize("tar", ["tar", "busybox"])
def test_a_folder_with_a_mount_has_more_files_than_a_command_takes_arguments(tmp_path: Path, tar: str) -> None:
    """As a file system's own, with 128 KiB for them here; what comes is one archive still."""
    many = tmp_path / "tree" / "many"
    (many / "proc").mkdir(parents=True)
    expected = {f"{number:04}{'x' * 120}" for number in range(1500)}
    for name in expected:
        (many / name).write_text(name)
    program = tmp_path / "bin" / "tar"
    program.parent.mkdir()
    program.symlink_to(shutil.which(tar) or pytest.skip(f"no {tar} here"))
    guest = with_mounts(f"PATH='{program.parent}':$PATH; mount -t proc none '{many}/proc'; ulimit -s 512")
    copied = copy_out(guest, str(many.parent), tmp_path / "back", recursive=True)
    assert (copied.left_out, copied.passed_over) == ([], {f"{many}/proc": "proc"})
    back = tmp_path / "back" / "many"
    assert set(os.listdir(back)) == {*expected, "proc"} and not os.listdir(back / "proc")
    assert all((back / name).read_text() == name for name in expected)
    with open(tmp_path / "archive", "w+b") as archive:
        stream_out(guest, str(many.parent), archive.fileno())
        archive.seek(0)
        with tarfile.open(fileobj=archive) as whole:
            assert {member.name.rpartition("/")[2] for member in whole if member.isfile()} == expected


def test_what_this_hosts_kernel_makes_up_is_not_copied_into_a_guest(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    monkeypatch.setattr("xenia.toolstack.commands.copy.made_up_here", lambda _: {"inner folder/.hidden": "proc"})
    copied = copy_in(start, [tree], str(tmp_path / "there"), recursive=True)
    assert copied.passed_over == {f"{tree}/inner folder/.hidden": "proc"} and copied.left_out == []
    assert os.listdir(tmp_path / "there" / "a tree" / "inner folder" / ".hidden") == []
    monkeypatch.undo()
    assert made_up_here("/")["proc"] == "proc" and not made_up_here(tree)
