"""What a guest's agent is told of shared folders, carried out here."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from xenia.toolstack.control import mounts


def test_a_place_with_spaces_is_unmounted_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "mounts").write_text(
        "share0 /home/me/my\\040folder 9p rw 0 0\nshare1 /m 9p rw 0 0\n"
        "share0 /n ext4 rw 0 0\nshare0 /a\\134b 9p rw 0 0\n"
    )
    (tmp_path / "umount").write_text(f'#!/bin/sh\nprintf "%s\\n" "$1" >>{tmp_path}/done\n')
    (tmp_path / "umount").chmod(0o755)
    script = mounts._UNMOUNT.replace("/proc/mounts", f"{tmp_path}/mounts")
    path = f"{tmp_path}:{os.environ['PATH']}"
    subprocess.run(["/bin/sh", "-c", script, "sh", "share0"], check=True, env={"PATH": path})
    assert (tmp_path / "done").read_text().splitlines() == ["/home/me/my folder", "/a\\b"]
