"""Files between this host and a running guest: in a tar archive that passes through a command in the guest.

The command is a shell script there, with the guest's own tar: busybox's will do.  Whatever is copied is put in place
under its name once all of it has come; until then it is in a folder beside, .xenia-cp.*, which goes with who copies.

    from xenia.toolstack.commands.copy import copy_in, copy_out

    copy_in(find_one("web").starter, [Path("src")], "/root", recursive=True)
    copy_out(find_one("web").starter, "/var/log/syslog", Path("."))
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import stat
import tarfile
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from io import FileIO
from pathlib import Path
from typing import IO, Any, Self

from xenia.errors import ConfigError
from xenia.toolstack.commands.extraction import Copied, Extraction
from xenia.toolstack.commands.mounts import MADE_UP, OTHERS, made_up_here, told
from xenia.toolstack.commands.process import GuestProcess, Starter
from xenia.toolstack.tar import DAMAGED_TAR, Header

Progress = Callable[[int], object]
"""Is called now and then with how many bytes have been copied."""

_PIECE, _PIPE = 1 << 18, 1 << 20
_MOST_BEHIND = 16  # pieces behind an archive's end
_MOST_NOTHING = 4  # times that it is looked whether there is more, once there is not
_MOST_SAID = 1 << 16  # bytes that are kept of what the guest says that is wrong
_LEFT_OUT = (" ".join(MADE_UP), " ".join(OTHERS))
# What tars say at their end where they left something out and have told of that, and what they say of it.
_GOES_ON = re.compile(r"tar: (error exit delayed|Exiting with failure status) .*")
_SAID_OF_TARS = {
    re.compile(r"(.*): (socket ignored|unknown file type)"): r"\1: a socket",
    re.compile(r"short read"): "a file is shorter than its size says",
}
_KINDS = {stat.S_IFSOCK: "a socket", stat.S_IFIFO: "a fifo", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def _kind(found: os.stat_result) -> str:
    return _KINDS.get(stat.S_IFMT(found.st_mode), "neither a file nor a folder")


def no_progress(_: int) -> None:
    """Nobody looks."""


def copy_in(
    start: Starter, sources: Sequence[str | os.PathLike[str]], path: str, *, recursive: bool = False,
    user: str = "root", progress: Progress = no_progress,
) -> Copied:  # fmt: skip
    """Copy files into a guest, with modes and times; they are the user's there.

    sources     files and folders; DIR/. is what is in a folder
    path        a folder there, or what the one file is to be called
    recursive   folders are copied, too, with links and all

    ConfigError where that cannot be; CommandLost where the guest ends before it is done.
    """
    paths = [Path(source) for source in sources]
    if not paths:
        raise ConfigError("there is nothing to copy: no file is named")
    names = [_name_of(source, number) for number, source in enumerate(sources)]
    if len(set(names)) < len(names):
        raise ConfigError("two files of the same name cannot be copied into one folder")
    for source in paths:
        _check(source, recursive)
    copied = Copied(progress)
    with ExitStack() as stack:
        ours, theirs = _pipe(stack)
        arguments = (_absolute(path), "several" if len(paths) > 1 else "")
        command = stack.enter_context(_Command(start, "copy_in.sh", arguments, user, stdin=ours.fileno()))
        ours.close()
        try:
            _write(theirs, list(zip(paths, names, strict=True)), copied, user)
            theirs.close()
        except BrokenPipeError:
            pass  # it has ended, and says why
        except OSError as refusal:
            raise ConfigError(f"{refusal.filename or sources[0]}: {refusal.strerror or refusal}") from None
        command.succeed(path)
    return copied


def copy_out(
    start: Starter, path: str, target: str | os.PathLike[str], *, recursive: bool = False, user: str = "root",
    progress: Progress = no_progress,
) -> Copied:  # fmt: skip
    """Copy a file out of a guest, with its mode and times, but for what others may write.

    target      a folder, or what it is to be called
    recursive   it may be a folder, with all that is in it but for devices, links that lead out of it, and file systems
                that the kernel makes up or the host has

    As copy_in.  What the guest's tar complained of is in `left_out`, too.
    """
    path = _absolute(path)
    name = path.rstrip("/").rpartition("/")[2]
    final = Path(target)
    if final.is_dir():
        final = final / name if name not in ("", ".", "..") else final
    elif str(target).endswith("/") or not final.parent.is_dir():
        raise ConfigError(f"{target}: no such folder")
    copied = Copied(progress)
    with ExitStack() as stack:
        ours, theirs = _pipe(stack)
        arguments = (path, "folders" if recursive else "", "", *_LEFT_OUT)
        command = stack.enter_context(_Command(start, "copy_out.sh", arguments, user, stdout=theirs.fileno()))
        theirs.close()
        extraction = stack.enter_context(Extraction(final, recursive, copied))
        try:
            _read(ours, extraction)
        except DAMAGED_TAR:
            ours.close()
            command.wait(may_break=True)
            raise ConfigError(f"{path}: {command.why or 'the guest sends no archive'}") from None
        command.wait()
        command.tell(copied)
        extraction.put_in_place()
    return copied


def stream_in(start: Starter, path: str, archive: int, user: str = "root") -> None:
    """Unpack the tar archive that a file has, in a folder of a guest.  As copy_in."""
    with _Command(start, "copy_in.sh", (_absolute(path), "several"), user, stdin=archive) as command:
        command.succeed(path)


def stream_out(start: Starter, path: str, archive: int, user: str = "root") -> Copied:
    """Write a file or folder of a guest's into a file, as the tar archive that the guest makes of it.  As copy_out; of
    what was copied nothing is counted."""
    arguments = (_absolute(path), "folders", "named", *_LEFT_OUT)
    copied = Copied(no_progress)
    with _Command(start, "copy_out.sh", arguments, user, stdout=archive) as command:
        command.succeed(path, may_break=True)
        command.tell(copied)
    return copied


class _Command:
    """A script that runs in a guest, and what it says that is wrong.

    why     once it has ended: what went wrong, "" if nothing
    """

    why = ""
    _goes_on = False  # all that it could do it has done

    def __init__(
        self, start: Starter, script: str, arguments: Sequence[str], user: str, *, stdin: int | None = None,
        stdout: int | None = None,
    ) -> None:  # fmt: skip
        text = Path(__file__).with_name(script).read_text()
        self._said = bytearray()
        self._wrong: list[str] = []
        self._mounts: dict[str, str] = {}
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        try:
            self._process = GuestProcess(
                start, ["/bin/sh", "-c", text, "xenia-cp", *arguments], user=user, stdin=stdin, stdout=stdout,
                stderr=theirs,
            )  # fmt: skip
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        self._listener = threading.Thread(target=self._listen, args=(ours,), daemon=True)
        self._listener.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.close()

    def succeed(self, path: str, *, may_break: bool = False) -> None:
        """Wait for its end.  ConfigError where that is not a good one."""
        self.wait(may_break=may_break)
        if self.why and not self._goes_on:
            raise ConfigError(self.why if self.why.startswith("/") else f"{path}: {self.why}")

    def wait(self, *, may_break: bool = False) -> None:
        """Wait for its end.  ConfigError where it was ended by something else, so that there may be more to come.

        may_break   who reads what it writes may have left, which ends it
        """
        status = self._process.wait()
        self._listener.join()
        if status < 0 and not (may_break and -status == signal.SIGPIPE):
            raise ConfigError(f"the guest's tar was ended by signal {-status}")
        lines = [line for line in self._said.decode("utf-8", "replace").splitlines() if line.strip()]
        self._mounts = dict(filter(None, map(told, lines)))
        wrong = [line for line in lines if told(line) is None and not _GOES_ON.fullmatch(line)]
        if status == 0:
            wrong = [line for line in wrong if line.startswith("tar: ./")]
        self._goes_on = status == 0 or any(map(_GOES_ON.fullmatch, lines))
        self._wrong = list(map(_plain, wrong)) or ([f"the guest's tar ended with {status}"] if status > 0 else [])
        self.why = self._wrong[0] if self._wrong and status > 0 else ""

    def tell(self, copied: Copied) -> None:
        """What it has left out, once it has ended."""
        for what in self._wrong:
            copied.leave_out(what)
        copied.passed_over |= self._mounts

    def _listen(self, descriptor: int) -> None:
        with os.fdopen(descriptor, "rb", 0) as said:
            while data := said.read(_MOST_SAID):
                self._said += data[: _MOST_SAID - len(self._said)]


def _plain(line: str) -> str:
    """What a guest's tar says is wrong, in words of ours where there are some."""
    for prefix in ("xenia: ", "xenia-cp: ", "tar: ", "./"):
        line = line.removeprefix(prefix)
    for said, meant in _SAID_OF_TARS.items():
        if (found := said.fullmatch(line)) is not None:
            return found.expand(meant)
    return line


def _name_of(source: str | os.PathLike[str], number: int) -> str:
    """What a file is called in the archive for copy_in.sh, which puts what is in .xenia-cp.N into the folder itself."""
    return f".xenia-cp.{number}" if os.fspath(source).rstrip("/").endswith("/.") else Path(source).resolve().name


def _absolute(path: str) -> str:
    """Where paths begin in a guest: where commands do."""
    return path if path.startswith("/") else f"/{path}"


def _pipe(stack: ExitStack) -> tuple[FileIO, FileIO]:
    source, target = os.pipe2(os.O_CLOEXEC)
    with suppress(OSError):  # where this user has too many
        fcntl.fcntl(target, fcntl.F_SETPIPE_SZ, _PIPE)
    return stack.enter_context(_FromGuest(source, "rb")), stack.enter_context(_ToGuest(target, "wb"))


class _FromGuest(FileIO):
    """An end of a pipe, of which nobody goes on reading for ever: tarfile does, where a file's size is none."""

    _nr_nothing = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """What there is.  ReadError where it was said often enough that there is nothing."""
        data = super().read(size)
        self._nr_nothing += not data
        if self._nr_nothing > _MOST_NOTHING:
            raise tarfile.ReadError("unexpected end of data")
        return data


class _ToGuest(FileIO):
    """An end of a pipe that takes all that it is given, from the beginning."""

    def tell(self) -> int:
        """Where an archive begins, which is all that is asked."""
        return 0

    def write(self, data: Any) -> int:
        """Write all of it."""
        rest = memoryview(data)
        while rest:
            rest = rest[super().write(rest) :]
        return len(data)


def _read(archive: FileIO, extraction: Extraction) -> None:
    with tarfile.open(
        fileobj=archive, mode="r|", bufsize=_PIECE, tarinfo=Header, encoding="utf-8", errors="surrogateescape"
    ) as tar:
        extraction.take(tar)
    for _ in range(_MOST_BEHIND):
        if not archive.read(_PIECE):
            return
    raise tarfile.ReadError("it does not end")


def _write(archive: FileIO, files: Sequence[tuple[Path, str]], copied: Copied, user: str) -> None:
    """Write files, and what is in folders, as an archive that busybox's tar reads for that user."""
    least = 0 if user.partition(":")[0] in ("root", "0") else stat.S_IRWXU
    with tarfile.TarFile(
        fileobj=archive, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape",
        copybufsize=_PIECE,
    ) as tar:  # fmt: skip
        for source, name in files:
            made_up = made_up_here(source) if source.is_dir() else {}
            pending = [""]
            while pending:
                inner = pending.pop()
                path = source / inner
                tar.dereference = not inner
                if not _add(tar, path, f"{name}/{inner}" if inner else name, copied, least):
                    continue
                if inner in made_up:
                    copied.passed_over[str(path)] = made_up[inner]
                else:
                    pending += [os.path.join(inner, one) for one in sorted(os.listdir(path), reverse=True)]


def _add(tar: tarfile.TarFile, path: Path, name: str, copied: Copied, least: int) -> bool:
    """Add one file; whether it is a folder.

    least   mode that a folder needs for something to be put into it, and for it to be moved
    """
    member = tar.gettarinfo(path, arcname=name)
    if member is None or not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        copied.leave_out(f"{path}: {_kind(os.lstat(path))}")
        return False
    member.mode = member.mode & 0o777 | (least if member.isdir() else 0)
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    copied.files += 1
    if member.isreg():
        with open(path, "rb") as contents:
            tar.addfile(member, _Counted(contents, copied))
    else:
        tar.addfile(member)
    return member.isdir()


class _Counted:
    """A file that is read, and how far."""

    def __init__(self, file: IO[bytes], copied: Copied) -> None:
        self._file, self._copied = file, copied

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        data = self._file.read(size)
        self._copied.moved(len(data))
        return data


def _check(source: Path, recursive: bool) -> None:
    """ConfigError where it is nothing to copy."""
    try:
        if source.is_dir():
            if not recursive:
                raise ConfigError(f"{source}: a folder, which -r copies")
        elif not source.is_file():
            kind = f"{_kind(source.stat())}, no file" if source.exists() else "no such file"
            raise ConfigError(f"{source}: {kind}")
        if not os.access(source, os.R_OK):
            raise ConfigError(f"{source}: permission denied")
    except (OSError, ValueError) as refusal:
        raise ConfigError(f"{source}: {getattr(refusal, 'strerror', None) or refusal}") from None
