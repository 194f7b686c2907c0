"""Who may use a file, and which files may be disks at all."""

import errno
import fcntl
import os
import socket
from pathlib import Path

import pytest

from xenia.errors import ConfigError
from xenia.storage.file import create_file, open_file
from xenia.storage.stack import create_stack, open_stack


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    create_file(path, 4096).close()
    return path


def test_two_writers_of_one_process_exclude_each_other(image: Path) -> None:
    with open_file(image):
        with pytest.raises(ConfigError, match=r"is in use: another program has it open$"):
            open_file(image)
        with pytest.raises(ConfigError, match="is in use: another program has it open for writing"):
            open_file(image, read_only=True)
    open_file(image).close()


def test_an_exclusive_lock_of_another_program_is_respected(image: Path) -> None:
    with image.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)  # of a process, which is asked by another one only
        child = os.fork()
        if not child:
            try:
                open_file(image, read_only=True)
            except ConfigError as error:
                os._exit(0 if "is in use" in str(error) else 1)
            os._exit(2)
        assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_of_and_used(
    number: int, image: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = fcntl.fcntl

    def refuse(fd: int, command: int, argument: int | bytes = 0) -> int | bytes:
        if command in (fcntl.F_OFD_SETLK, fcntl.F_OFD_GETLK):
            raise OSError(number, os.strerror(number))
        return real(fd, command, argument)

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    with open_file(image) as disk:
        disk.pwrite(b"x" * 512, 0)
    assert [record.getMessage() for record in caplog.records] == [
        f"{image}: its file system gives no locks ({os.strerror(number)}): see that nothing else writes to it"
    ]


@pytest.mark.parametrize("text", ["file:{}", "file:{}:ro", "qcow2:{}", "file:{},cow", "qcow2:{}:ro", "file:{},crypt"])
@pytest.mark.parametrize("kind", ["pipe", "socket", "directory", "character device"])
def test_what_is_no_file_and_no_device_is_no_disk(kind: str, text: str, tmp_path: Path) -> None:
    path = other(kind, tmp_path)
    with pytest.raises(ConfigError, match=f"{path} is a {kind}"):
        open_stack(text.format(path))
    with pytest.raises(ConfigError, match=f"{path} is a {kind}"):
        create_stack(text.partition(",")[0].removesuffix(":ro").format(path), 4096, replace=True)


@pytest.mark.parametrize("kind", ["pipe", "socket", "directory", "character device"])
def test_a_base_is_a_file_or_a_device(kind: str, tmp_path: Path) -> None:
    path = other(kind, tmp_path)
    with pytest.raises(ConfigError, match=f"{path} is a {kind}"):
        create_stack(f"qcow2:{tmp_path}/clone:base={path}", 4096)
    assert not (tmp_path / "clone").exists()


@pytest.mark.parametrize("kind", ["pipe", "socket", "directory"])
def test_an_image_that_is_based_on_something_else_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    (tmp_path / "base").write_bytes(bytes(4096))
    create_stack(f"qcow2:{tmp_path}/clone:base=base", 4096)
    (tmp_path / "base").unlink()
    other(kind, tmp_path).rename(tmp_path / "base")
    with pytest.raises(ConfigError, match=f"base is a {kind}"):
        open_stack(f"qcow2:{tmp_path}/clone")


def other(kind: str, directory: Path) -> Path:
    path = directory / "other"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "socket":
            socket.socket(socket.AF_UNIX).bind(str(path))
        case "directory":
            path.mkdir()
        case _:
            return Path("/dev/zero")
    return path
