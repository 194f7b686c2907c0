"""Machine code from assembly source, by the host's assembler."""

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest


@functools.cache
def assemble(source: str) -> bytes:
    """The bytes of 64-bit AT&T `source`; skips the test where there is no assembler for x86-64."""
    if shutil.which("as") is None or shutil.which("objcopy") is None:
        pytest.skip("needs binutils: as and objcopy")
    with tempfile.TemporaryDirectory() as folder:
        object_file, flat = Path(folder, "code.o"), Path(folder, "code.bin")
        subprocess.run(["as", "--64", "-o", object_file, "-"], input=(source + "\n").encode(), check=True)
        subprocess.run(["objcopy", "-O", "binary", "-j", ".text", object_file, flat], check=True)
        return flat.read_bytes()
