"""What drgn finds in a core, as JSON: python -m tests.peers.read_with_drgn CORE KERNEL

Types are those of the kernel's BTF, and symbols those that the core's VMCOREINFO leads to, so no debug information is
needed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from drgn import Object, Program
from drgn.helpers.linux.kallsyms import load_vmlinux_kallsyms
from drgn.helpers.linux.mm import cmdline
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.printk import get_dmesg

from xenia.domain.build.elf import ElfFile
from xenia.toolstack.symbols.btf import read_btf
from xenia.toolstack.symbols.drgn_types import VARIABLES, DrgnTypes


def section(kernel: Path) -> bytes:
    """The BTF in a kernel's image."""
    sections = ElfFile(kernel.read_bytes(), "kernel").sections()
    return bytes(next(section.data for section in sections if section.name == ".BTF"))


def main() -> None:
    """See above."""
    core, kernel = sys.argv[1:]
    program = Program()
    program.set_core_dump(core)
    types = DrgnTypes(program, read_btf(section(Path(kernel))))
    program.register_type_finder("btf", types.find, enable_index=0)
    program.register_symbol_finder("kallsyms", load_vmlinux_kallsyms(program), enable_index=0)

    def find(_: Program, name: str, __: Any, ___: str | None) -> Object | None:
        if name not in VARIABLES:
            return types.constant(name)
        return Object(program, VARIABLES[name], address=program.symbol(name).address)

    program.register_object_finder("variables", find, enable_index=0)
    tasks = list(for_each_task(program))
    print(json.dumps({
        "tasks": [[task.pid.value_(), task.comm.string_().decode()] for task in tasks],
        "commands": [b" ".join(cmdline(task) or []).decode() for task in tasks if task.mm],
        "log": get_dmesg(program).decode(errors="replace")[-2000:],
        "symbols": {symbol.name: symbol.address for symbol in program.symbols()},
    }))  # fmt: skip


if __name__ == "__main__":
    main()
