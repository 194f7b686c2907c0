"""Every compiled module is built so that an overwritten buffer or pointer leads nowhere."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import xenia

MODULES = sorted(Path(xenia.__file__).parent.rglob("*.so"))
pytestmark = pytest.mark.skipif(shutil.which("readelf") is None, reason="no readelf here (package binutils)")


def readelf(*arguments: str) -> str:
    return subprocess.run(["readelf", *arguments], capture_output=True, text=True, check=True).stdout


def test_what_the_linker_fills_in_is_read_only_once_a_module_is_loaded() -> None:
    assert MODULES
    for module in MODULES:
        found = readelf("-dlW", str(module))
        assert "GNU_RELRO" in found, f"{module.name} has no RELRO"
        assert "BIND_NOW" in found or "NOW" in found.partition("FLAGS_1")[2], f"{module.name} binds when it likes"


def test_no_module_wants_a_stack_that_can_be_executed() -> None:
    for module in MODULES:
        stack = next(line for line in readelf("-lW", str(module)).splitlines() if "GNU_STACK" in line)
        assert "RWE" not in stack, f"{module.name}: {stack}"


def test_overrun_buffers_on_the_stack_are_noticed() -> None:
    guarded = [module for module in MODULES if "__stack_chk_fail" in readelf("--dyn-syms", "-W", str(module))]
    assert {"engine", "decode", "kernel"} <= {module.name.partition(".")[0] for module in guarded}


def test_copies_into_buffers_of_known_size_are_checked() -> None:
    engine = next(module for module in MODULES if module.parent.name == "emulated")
    assert "_chk@" in readelf("--dyn-syms", "-W", str(engine)).replace("__stack_chk_fail@", "")
