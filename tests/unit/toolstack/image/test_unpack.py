"""What is done in the guest to put a container image's files on a disk: the script, with programs that write down that
they were called."""

from __future__ import annotations

import os
import subprocess
from importlib import resources
from pathlib import Path

import pytest


@pytest.mark.parametrize(("zeroed", "is_trimmed"), [("yes", False), ("no", True)])
def test_only_a_disk_that_was_not_zeroes_is_told_what_is_free(tmp_path: Path, zeroed: str, is_trimmed: bool) -> None:
    called = tmp_path / "called"
    for name in ("ld-linux-x86-64.so.2", "mount", "umount", "fstrim"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >>{called}\n')
        program.chmod(0o755)
    script = resources.files("xenia.toolstack.image").joinpath("unpack.sh").read_text()
    script = script.replace("/tools", str(tmp_path)).replace("=/target", f"={tmp_path}/target")
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "ZEROED": zeroed, "INODES": "100"}
    subprocess.run(["sh", "-c", script], env=environment, check=True, stdout=subprocess.DEVNULL)
    calls = called.read_text().splitlines()
    assert any(call.startswith("umount") for call in calls)
    assert any(call.startswith("fstrim") for call in calls) == is_trimmed
