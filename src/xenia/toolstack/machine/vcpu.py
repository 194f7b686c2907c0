"""A domain's vcpus, from outside: what `Domain.vcpus` has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from xenia.errors import ConfigError
from xenia.hypervisor import registers
from xenia.hypervisor.domain import DomainHandle
from xenia.toolstack.config import values as argument
from xenia.toolstack.config.values import Given, given

if TYPE_CHECKING:
    from xenia.toolstack.machine.pauses import Pauses


class Vcpu(Given):
    """One of them.

    number  as the guest and `xl vcpu-list` count: from 0
    """

    def __init__(self, handle: DomainHandle, pauses: Pauses, number: int) -> None:
        self.number = number
        self._handle = handle
        self._pauses = pauses

    @property
    def registers(self) -> dict[str, int]:
        """What its guest has in them at this moment, by their names, for which it stands still: rax to r15, rip,
        rflags; cs, ss, ds, es, fs, gs; fs_base, gs_base, and k_gs_base that swapgs would bring; cr0, cr2, cr3 (the
        machine address of the kernel's root) and cr4; dr0 to dr3, dr6, dr7; and `kernel`, 1 in kernel mode."""
        with self._pauses.held():
            return registers.read(self._handle, self.number)

    @property
    def fpu(self) -> bytes:
        """FPU, MMX and SSE registers, as fxsave64 stores them: 512 bytes."""
        with self._pauses.held():
            return registers.read_fpu(self._handle, self.number)

    @given(values=argument.numbers_by_name)
    def set_registers(self, values: Mapping[str, int]) -> None:
        """Write general registers, rip, rflags (what of them is a guest's), ds, es, fs, gs and the bases, by name.

        ConfigError, and none is written, while the domain is not paused, or where there is no such register or it does
        not take the value.
        """
        self._require_paused()
        with self._pauses.held():
            registers.write(self._handle, self.number, dict(values))

    @given(area=argument.octets)
    def set_fpu(self, area: bytes) -> None:
        """Write FPU, MMX and SSE registers, as fxrstor64 loads them.  ConfigError as for `set_registers`."""
        self._require_paused()
        with self._pauses.held():
            registers.write_fpu(self._handle, self.number, area)

    def _require_paused(self) -> None:
        if not self._pauses.stands:
            raise ConfigError("registers are written while the domain is paused: pause it first")
