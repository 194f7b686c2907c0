"""A running guest's kernel as drgn's Program, without any debug information: types from the kernel's BTF, symbols
from its kallsyms, both from its own memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

import drgn
from drgn import Object, Program

from xenia.errors import ConfigError
from xenia.toolstack.provision.cache import Progress, no_progress
from xenia.toolstack.symbols.btf import kernel_types
from xenia.toolstack.symbols.drgn_types import VARIABLES, DrgnTypes
from xenia.toolstack.symbols.kallsyms import Symbol, read_kallsyms
from xenia.toolstack.symbols.kernel_memory import KernelMemory
from xenia.toolstack.symbols.modules import loaded_modules

_IMAGE: Final = ("_text", "_etext", "_end")
_LONGEST: Final = 1 << 24  # bytes of a function, or of data with a name
_KERNELS: Final = 0xFFFF800000000000  # addresses from here on are the kernel's, in whatever process
_DIRECT_MAP, _DIRECT_MAP_SIZE = 0xFFFF888000000000, 1 << 46  # it is not moved under Xen (arch/x86/mm/kaslr.c)


class Memory(Protocol):
    """What there is of it up to where there is nothing; see `toolstack/debug/remote_memory.py`."""

    def read(self, address: int, size: int) -> bytes: ...
    def read_physical(self, address: int, size: int) -> bytes: ...
    def vmcoreinfo(self) -> bytes: ...


def kernel_program(
    memory: Memory, *, is_live: bool, debug_info: Path | None = None, progress: Progress = no_progress
) -> Program:
    """Of the guest whose memory that is.

    is_live      it runs meanwhile: the stacks of tasks that run are not told
    debug_info   the kernel's vmlinux with DWARF, in the place of BTF

    ConfigError where it is no Linux that is up, or without what is needed.
    """
    info = memory.vmcoreinfo()
    if not info:
        raise ConfigError("its kernel has left no VMCOREINFO: it is no Linux, or not up yet")
    program = Program(drgn.Platform(drgn.Architecture.X86_64))
    program.add_memory_segment(0, 1 << 52, _reader(memory.read_physical), physical=True)
    program.set_linux_kernel_custom(info, is_live)
    program.add_memory_segment(_KERNELS, (1 << 64) - _KERNELS, _reader(memory.read))
    # Through the map of all memory, page tables are read as physical ones are: without machine frames.
    direct = _reader(lambda address, size: memory.read_physical(address - _DIRECT_MAP, size))
    program.add_memory_segment(_DIRECT_MAP, _DIRECT_MAP_SIZE, direct)
    if debug_info is not None:
        program.main_module("kernel", create=True).try_file(debug_info, force=True)
        return program
    progress("reading the kernel's types", 0, 0)
    image = KernelMemory(memory.read)
    found = read_kallsyms(image)
    try:
        known = kernel_types(image, found)
    except ConfigError as error:
        raise ConfigError(f"{error}: --symbols") from None
    modules = [symbol for module in loaded_modules(memory.read, found, known) for symbol in module.symbols]
    program.register_symbol_finder("kallsyms", drgn.SymbolIndex(_symbols([*found, *modules])), enable_index=0)
    # With this drgn finds the tables by which the kernel unwinds its own stacks (ORC).
    if (image_range := _image(found)) is not None:
        program.main_module("kernel", create=True).address_range = image_range
    types = DrgnTypes(program, known)
    program.register_type_finder("btf", types.find, enable_index=0)

    def find(_: Program, name: str, __: Any, ___: str | None) -> Object | None:
        if name not in VARIABLES:
            return types.constant(name)
        return Object(program, VARIABLES[name], address=program.symbol(name).address)

    program.register_object_finder("variables", find, enable_index=0)
    return program


def _image(found: list[Symbol]) -> tuple[int, int] | None:
    """Where the kernel is, from its beginning to its end, or to that of its functions."""
    places = {symbol.name: symbol.address for symbol in found if symbol.name in _IMAGE}
    begin, end = places.get("_text", 0), places.get("_end", places.get("_etext", 0))
    return (begin, end) if 0 < begin < end else None


def _symbols(found: list[Symbol]) -> list[drgn.Symbol]:
    """As drgn has them: one is as long as there is to the next, unless that is in another part of memory."""
    found = sorted(found)
    following = [*(symbol.address for symbol in found[1:]), found[-1].address]
    return [
        drgn.Symbol(
            name, address, end - address if end - address < _LONGEST else 0,
            drgn.SymbolBinding.LOCAL if kind.islower() else drgn.SymbolBinding.GLOBAL,
            drgn.SymbolKind.FUNC if kind in "tTwW" else drgn.SymbolKind.OBJECT,
        )
        for (address, kind, name), end in zip(found, following, strict=True)
    ]  # fmt: skip


def _reader(read: Callable[[int, int], bytes]) -> Callable[[int, int, int, bool], bytes]:
    def fetch(address: int, size: int, _: int, __: bool) -> bytes:
        data = read(address, size)
        if len(data) < size:
            raise drgn.FaultError("the guest has nothing there", address + len(data))
        return data

    return fetch
