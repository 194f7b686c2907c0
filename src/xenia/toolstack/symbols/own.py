"""A running kernel's own symbols, in a file of the cache."""

from __future__ import annotations

import hashlib
from pathlib import Path

from xenia.toolstack.provision.cache import Cache, Progress, no_progress
from xenia.toolstack.symbols.kernel_memory import KernelMemory, Read
from xenia.toolstack.symbols.symbol_file import identity, symbol_file

_FOLDER = "symbols"


def own_symbols(read: Read, cache: Cache | None = None, progress: Progress = no_progress) -> Path:
    """A file with the symbols that the kernel in that memory has there, and with how its frames are unwound.

    ConfigError where there is no Linux, or one that was built without its symbols.
    """
    cache = cache or Cache()
    progress("reading the kernel's symbols", 0, 0)
    memory = KernelMemory(read)
    name = identity(memory)
    if name is not None and (known := cache.path(_FOLDER, name)).exists():
        return known
    data = symbol_file(memory)
    path = cache.path(_FOLDER, name or hashlib.sha256(data).hexdigest()[:24])
    with cache.new_file(path) as new:
        new.write_bytes(data)
    return path
