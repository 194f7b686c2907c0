"""`xenia disk`, from the command line down."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from xenia.cli.exit_status import ExitStatus
from xenia.cli.main import command
from xenia.storage.stack import open_stack


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """What a successful command says in JSON."""
    assert command(["disk", *words, "--json"]) == ExitStatus.OK
    return json.loads(capsys.readouterr().out)


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The line of a command that is refused."""
    assert command(["disk", *words]) == ExitStatus.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_disk_is_made_and_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["disk", "create", "root.qcow2", "--size", "10G"]) == ExitStatus.OK
    assert command(["disk", "info", "root.qcow2"]) == ExitStatus.OK
    assert "10G (10737418240 bytes)" in capsys.readouterr().out
    found = answer(capsys, "info", "root.qcow2")
    assert found["size"] == 10 << 30
    qcow2, file = found["layers"]
    assert (qcow2["layer"], qcow2["version"], qcow2["compression"]) == ("qcow2", 3, "zstd")
    assert file["path"].endswith("/root.qcow2") and file["allocated"] < 1 << 20


def test_a_disk_based_on_another_has_its_size(capsys: pytest.CaptureFixture[str]) -> None:
    Path("base.img").write_bytes(b"based" * 2048)
    answer(capsys, "create", "qcow2:clone.qcow2:base=base.img")
    with open_stack("clone.qcow2") as disk:
        assert disk.size == 10240 and disk.pread(0, 5) == b"based"


def test_a_copy_holds_what_the_disk_held_and_no_zeroes(capsys: pytest.CaptureFixture[str]) -> None:
    data = os.urandom(1 << 20) + bytes(30 << 20) + b"end!" * 256
    Path("old.img").write_bytes(data)
    found = answer(capsys, "convert", "old.img", "file:new.img,compress")
    assert found["copied"] < 5 << 20
    with open_stack("file:new.img,compress") as disk:
        assert disk.pread(0, disk.size) == data
    assert Path("new.img").stat().st_blocks * 512 < 3 << 20
    answer(capsys, "convert", "file:new.img,compress", "back.img")
    assert Path("back.img").read_bytes() == data


def test_a_copy_onto_an_encrypted_disk_has_its_zeroes(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("cryptography", reason="needs the Python package cryptography")
    Path("key").write_bytes(os.urandom(64))
    Path("old.img").write_bytes(bytes(1 << 16) + b"x" * (1 << 16))
    answer(capsys, "convert", "old.img", "file:new.img,crypt:key=@key:plain")
    with open_stack("file:new.img,crypt:key=@key:plain") as disk:
        assert disk.pread(0, disk.size) == Path("old.img").read_bytes()


def test_a_sound_image_is_found_sound(capsys: pytest.CaptureFixture[str]) -> None:
    answer(capsys, "create", "file:disk,qcow2", "--size", "1M")
    with open_stack("file:disk,qcow2") as disk:
        disk.pwrite(os.urandom(300_000), 1000)
    found = answer(capsys, "check", "file:disk,qcow2")
    assert found["sound"] and found["images"][0]["image"] == "what is in file:disk"
    Path("old.img").write_bytes(bytes(4096))
    assert command(["disk", "check", "old.img", "--json"]) == ExitStatus.OK
    assert json.loads(capsys.readouterr().out) == {"sound": True, "images": []}


def test_damage_is_found_and_repaired(capsys: pytest.CaptureFixture[str]) -> None:
    answer(capsys, "create", "disk.qcow2", "--size", "1M")
    with open_stack("disk.qcow2") as disk:
        disk.pwrite(b"data", 0)
    with Path("disk.qcow2").open("r+b") as file:
        file.seek(2 << 16)  # the first block of counts
        counts = bytearray(file.read(32))
        file.seek(2 << 16)
        counts[9] = 0  # a cluster in use, counted as free
        counts[31] = 5  # a cluster that nobody uses
        file.write(counts)
    assert command(["disk", "check", "disk.qcow2"]) == ExitStatus.PROBLEM
    assert "damaged in" in capsys.readouterr().out
    found = answer(capsys, "check", "disk.qcow2", "--repair")
    assert found["sound"] and found["images"][0]["repaired"]
    found = answer(capsys, "check", "disk.qcow2")
    assert (found["images"][0]["leaks"], found["images"][0]["errors"]) == (0, [])
    with open_stack("disk.qcow2") as disk:
        assert disk.pread(0, 4) == b"data"


def test_a_disk_goes_back_to_a_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    answer(capsys, "create", "file:data.img", "--size", "1M")
    disk = "file:data.img,checkpoint"
    with open_stack(disk) as layer:
        layer.pwrite(b"good", 0)
    answer(capsys, "checkpoint", disk, "before")
    with open_stack(disk) as layer:
        layer.pwrite(b"evil", 0)
    assert [one["name"] for one in answer(capsys, "checkpoint", disk)] == ["before"]
    answer(capsys, "rollback", disk, "before")
    with open_stack(disk) as layer:
        assert layer.pread(0, 4) == b"good"
    assert answer(capsys, "check", disk)["sound"]
    answer(capsys, "checkpoint", disk, "--forget", "before")
    assert answer(capsys, "checkpoint", disk) == []


def test_what_cannot_be_had_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path("disk").write_bytes(bytes(4096))
    assert "how large is it to be?" in complaint(capsys, "create", "new.img")
    assert "'10Q' is not a size" in complaint(capsys, "create", "new.img", "--size", "10Q")
    assert "there is a file" in complaint(capsys, "create", "./disk", "--size", "1M")
    assert "what is 'crpyt'?" in complaint(capsys, "info", "file:disk,crpyt")
    assert "is not a qcow2 image" in complaint(capsys, "check", "qcow2:disk")
    assert "keeps no checkpoints" in complaint(capsys, "rollback", "./disk", "a")
    assert "cannot open missing.img" in complaint(capsys, "convert", "missing.img", "new.img")


def test_a_disk_that_cannot_be_made_leaves_nothing_behind(capsys: pytest.CaptureFixture[str]) -> None:
    assert "cannot read the key none" in complaint(capsys, "create", "file:new.img,crypt:key=@none", "--size", "1M")
    assert list(Path().iterdir()) == []


def test_the_words_of_a_guests_disk_are_understood(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "disk").write_bytes(bytes(4096))
    for words in ("", ",ro", ",raw,xvda,r", ",vdev=xvdb,cdrom", ",no-discard"):
        assert command(["disk", "info", f"{tmp_path}/disk{words}"]) == 0
        assert "4.0K" in capsys.readouterr().out


def test_a_name_that_is_no_utf8_is_shown_by_its_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.img")
    Path(path).write_bytes(bytes(4096))
    assert command(["disk", "info", path]) == 0
    assert "/caf\\xe9.img" in capsys.readouterr().out
    assert command(["disk", "info", f"{path}s"]) == 2
    assert "/caf\\xe9.imgs" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["missing.img", "folder", "pipe", "file:missing.img,cow"])
def test_a_check_of_what_is_no_disk_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    os.mkfifo("pipe")
    assert command(["disk", "check", name]) == ExitStatus.USAGE
