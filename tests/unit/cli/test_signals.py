"""What the command sees to before anything else: its standard descriptors, and the signals that end it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest

_FILL = """
import os
from xenia.cli.signals import fill_standard_descriptors
fill_standard_descriptors()
kept = [os.open("/", os.O_RDONLY) > 2, *(os.path.samestat(os.fstat(n), os.stat(os.devnull)) for n in range(3))]
os.write(int(os.environ["ANSWER"]), repr(kept).encode())
"""


@pytest.mark.parametrize("closed", [c for n in range(4) for c in combinations(range(3), n)], ids=str)
def test_standard_descriptors_that_are_closed_are_filled_first(closed: tuple[int, ...]) -> None:
    read_fd, write_fd = os.pipe()
    redirections = " ".join(f"{number}>&-" for number in closed)
    process = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {redirections}', "sh", sys.executable, "-c", _FILL],
        env={**os.environ, "ANSWER": str(write_fd)}, pass_fds=[write_fd], check=True,
        stdin=subprocess.PIPE, capture_output=True,
    )  # fmt: skip
    os.close(write_fd)
    assert not process.stderr
    assert os.read(read_fd, 100).decode() == str([True, *(number in closed for number in range(3))])
    os.close(read_fd)


def test_an_interrupt_while_the_command_is_still_being_imported_ends_it_without_a_word() -> None:
    program = """
import os, signal, sys
class AtFirst:
    def find_spec(self, name, path=None, target=None):
        if name == "xenia.cli.main":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, AtFirst())
from xenia.__main__ import main
main()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_second_signal_skips_neither_what_is_put_right_nor_the_last_word(
    tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "old.img").write_bytes(os.urandom(1 << 20))
    command = ["disk", "convert", "file:old.img,delay:read=1500", "file:new.img,cache"]
    process = subprocess.Popen(
        [sys.executable, "-m", "xenia", *command], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert "copying" in process.stderr.readline()
    for _ in range(5):
        process.send_signal(number)
    assert process.wait(60) == -number
    assert process.stderr.read().splitlines()[-1] == f"xenia: ended by {number.name}"
    assert [path.name for path in tmp_path.iterdir()] == ["old.img"]
