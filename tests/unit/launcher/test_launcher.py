"""The launcher as what starts the interpreter: which, with what, and where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from xenia.launcher.build import INTERPRETER


def interpreter(folder: Path, name: str = INTERPRETER) -> None:
    """One that says by which path it was started, and with what."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text('#!/bin/sh\nprintf "%s\\n" "$0" "$@"\nexit 7\n')
    (folder / name).chmod(0o755)


@pytest.fixture
def installed(launcher: Path, tmp_path: Path) -> Path:
    """Without an interpreter beside it."""
    folder = tmp_path / "user" / "bin"
    folder.mkdir(parents=True)
    return Path(shutil.copy(launcher, folder / "xenia"))


def started(program: Path, *arguments: str, path: str = "", **more: str) -> tuple[int, list[str], str]:
    ended = subprocess.run(
        [program, *arguments], env={"PATH": path, **more}, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        check=False,
    )  # fmt: skip
    return ended.returncode, ended.stdout.splitlines(), ended.stderr


def test_the_interpreter_beside_it_gets_the_arguments_as_they_are(installed: Path, tmp_path: Path) -> None:
    interpreter(installed.parent)
    interpreter(tmp_path / "other")
    words = ["run", "", "a b", "--", "-x"]
    began = [str(installed.parent / INTERPRETER), "-P", "-m", "xenia"]
    assert started(installed, *words, path=f"{tmp_path}/other") == (7, [*began, *words], "")
    link = tmp_path / "xenia"  # as pipx has it
    link.symlink_to(installed)
    assert started(link) == (7, began, "")


def test_else_it_is_the_first_in_the_search_path_that_is_in_no_virtual_environment(
    installed: Path, tmp_path: Path
) -> None:
    for name in ("venv/bin", "first", "second"):
        interpreter(tmp_path / name)
    (tmp_path / "venv" / "pyvenv.cfg").touch()  # to which the package does not belong: it would be beside
    interpreter(tmp_path / "older", "python3")
    folders = (f"{tmp_path}/{name}" for name in ("nowhere", "older", "venv/bin", "first", "second"))
    path = ":".join(["", "relative", *folders])
    assert started(installed, "list", path=path)[1][0] == f"{tmp_path}/first/{INTERPRETER}"


def test_where_there_is_none_it_says_so(installed: Path, tmp_path: Path) -> None:
    line = f"xenia: there is no {INTERPRETER} to run with, neither beside the command nor in PATH\n"
    assert started(installed, "list", path=f"{tmp_path}:{'x' * 9000}") == (2, [], line)
    assert started(installed, "exec", "web", "true", path="/nowhere") == (2, [], line)


def test_the_command_is_the_packages_whatever_lies_in_the_current_folder(
    launcher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "xenia").mkdir()
    for name in ("xenia/__init__.py", "xenia/__main__.py", "argparse.py"):
        (tmp_path / name).write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    status, said, errors = started(launcher, "--version", path=os.environ["PATH"])
    assert (status, errors) == (0, "") and said[0].startswith("xenia ")


def test_processes_are_listed_by_the_commands_name(launcher: Path, tmp_path: Path) -> None:
    with subprocess.Popen(
        [launcher, "daemon"], env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None and "ready" in process.stderr.readline()
        assert Path(f"/proc/{process.pid}/comm").read_text() == "xenia\n"
        words = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
        assert words[-4:] == [b"-m", b"xenia", b"daemon", b""]
        process.terminate()
