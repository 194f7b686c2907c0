"""The name of a backing file is as an image's header has it."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path


def test_a_backing_name_that_holds_a_zero_byte_is_damage(tmp_path: Path) -> None:
    head = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 3, 112, 5, 16, 1 << 20, 0, 1, 0x30000, 0x10000, 1, 0, 0)
    image = (head + struct.pack(">QQQII", 0, 0, 0, 4, 104) + bytes(8) + b"a\0b/c").ljust(0x50000, b"\0")
    (tmp_path / "disk.qcow2").write_bytes(image)
    told = subprocess.run(
        [sys.executable, "-m", "xenia", "disk", "info", tmp_path / "disk.qcow2"], capture_output=True, text=True
    )
    assert told.returncode == 2
    assert "holds a zero byte" in told.stderr and "Traceback" not in told.stderr
