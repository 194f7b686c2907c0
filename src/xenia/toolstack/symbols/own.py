"""A running kernel's own symbols, in a file of the cache."""

from __future__ import annotations

import hashlib
from pathlib import Path

from xenia.toolstack.provision.cache import Cache, Progress, no_progress
from xenia.toolstack.symbols.kernel_memory import KernelMemory, Read
from xenia.toolstack.symbols.symbol_file import symbol_file

_FOLDER = "symbols"


def own_symbols(read: Read, cache: Cache | None = None, progress: Progress = no_progress) -> Path:
    """A file with the symbols that the kernel in that memory and its modules have there, and how frames are unwound.

    It is named by what is in it, so that guests share one only where they agree: nothing that a guest has in its memory
    decides what is told of another.

    ConfigError where there is no Linux, or one that was built without its symbols.
    """
    cache = cache or Cache()
    progress("reading the kernel's symbols", 0, 0)
    data = symbol_file(KernelMemory(read), read)
    path = cache.path(_FOLDER, hashlib.sha256(data).hexdigest())
    if not path.exists():
        with cache.new_file(path) as new:
            new.write_bytes(data)
    return path
