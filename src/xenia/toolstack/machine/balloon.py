"""How much memory a domain is asked to have: its balloon driver gives back what is beyond that, or takes more."""

from __future__ import annotations

import threading

from xenia.errors import ConfigError
from xenia.toolstack.config import values
from xenia.toolstack.config.machine import MINIMUM_MEMORY, format_size
from xenia.toolstack.config.values import given
from xenia.toolstack.machine.site import DomainSite
from xenia.toolstack.machine.store_layout import MemoryKeys


class Ballooned(DomainSite):
    """A domain, as far as that is concerned."""

    _life: threading.Lock

    @property
    def memory_target(self) -> int:
        """Bytes of memory that the guest is asked to have."""
        return MemoryKeys(self._keys, self.domid)["target"]

    @property
    def max_memory(self) -> int:
        """Bytes that it can be given."""
        return MemoryKeys(self._keys, self.domid)["static-max"]

    @given(size=values.MEMORY)
    def set_memory(self, size: int) -> None:
        """Ask the guest to have `size` bytes of memory, as `xl mem-set` does: its balloon driver gives back what it has
        beyond that, or takes more.  It gets no more than that from now on.  `statistics["frames"]` says how far it is.

        ConfigError where it is more than `max_memory`, or than the machine has for it.
        """
        if size < MINIMUM_MEMORY:
            least = format_size(MINIMUM_MEMORY)
            raise ConfigError(f"memory {format_size(size)}: a guest needs {least} at the very least")
        with self._life:
            if size > self.max_memory:
                raise ConfigError(
                    f"memory {format_size(size)} is more than the {format_size(self.max_memory)} that guest "
                    f"'{self.name}' may have: raise that first (mem-max)"
                )
            self.handle.set_maximum(size >> 12)
            MemoryKeys(self._keys, self.domid)["target"] = size

    @given(size=values.MEMORY)
    def set_max_memory(self, size: int) -> None:
        """Let the guest be given up to `size` bytes, as `xl mem-max` does.  A kernel uses more than the maximum that it
        was started with only where it can be given memory while it runs.

        ConfigError where that is less than it is asked to have now.
        """
        with self._life:
            if size < self.memory_target:
                raise ConfigError(
                    f"a maximum of {format_size(size)} is less than the {format_size(self.memory_target)} that guest "
                    f"'{self.name}' is to have: ask it to have less first (mem-set)"
                )
            MemoryKeys(self._keys, self.domid)["static-max"] = size
