"""A domain's memory, from outside: `Domain.memory`."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Protocol

from xenia.errors import ConfigError, GuestFault
from xenia.hypervisor import guest_memory
from xenia.hypervisor.domain import DomainHandle
from xenia.hypervisor.dump import own_frames
from xenia.toolstack.config import values
from xenia.toolstack.config.values import given

_PAGE: Final = 4096
_ADDRESSES: Final = 1 << 64
_PIECE: Final = 1 << 20  # bytes that are read at once
_SHOWN_BITS: Final = 128
_REFUSED: Final = {
    guest_memory.UNMAPPED: "write",
    guest_memory.TABLE: "write to a page table or to descriptors",
    guest_memory.FOREIGN: "write to a page of others",
}


class Standing(Protocol):
    """What lets none of a domain's vcpus run for a while."""

    def held(self) -> AbstractContextManager[object]: ...


class GuestMemory:
    """What is in a domain's memory, at any moment of its life.

    size    bytes that it was created with

    An address is virtual, of the kernel or of what runs in user mode, and means what the vcpu has mapped there just
    now; or it is pseudo-physical: what Linux calls a physical address.  The domain stands still for as long as a call
    takes, but for one that reads by pseudo-physical address.
    """

    def __init__(self, handle: DomainHandle, pauses: Standing, size: int) -> None:
        self.size = size
        self._handle = handle
        self._pauses = pauses
        self._frames: tuple[array[int], array[int]] = (array("Q"), array("Q"))

    @given(vcpu=values.NUMBER)
    def read(self, address: int, size: int, *, vcpu: int = 0, physical: bool = False) -> bytes:
        """`size` bytes at an address.  GuestFault where something of them is not mapped, or not the domain's."""
        return self._read(*_place(address, size), vcpu, bool(physical))

    @given(data=values.octets, vcpu=values.NUMBER)
    def write(self, address: int, data: bytes, *, vcpu: int = 0, physical: bool = False) -> None:
        """Write to an address, also where the guest itself may only read: its own code, for example.

        GuestFault where something of it is not mapped, or not the domain's, or is a page table or holds descriptors,
        which are Xen's to write.  What comes before that is written.
        """
        address, size = _place(address, len(data))
        if size:
            self._write(address, data, vcpu, bool(physical))

    @given(vcpu=values.NUMBER)
    def translate(self, address: int, *, vcpu: int = 0) -> int:
        """The pseudo-physical address of a virtual one.  GuestFault where nothing is mapped, or a page of others."""
        return self._translate(_place(address, 0)[0], vcpu)

    def _read(self, address: int, size: int, vcpu: int, physical: bool) -> bytes:
        number = self._number(vcpu)
        found = bytearray()  # which grows as there is something: nobody has 2**62 bytes
        with self._pauses.held() if not physical else nullcontext():
            while len(found) < size:
                at, part = address + len(found), bytearray(min(size - len(found), _PIECE))
                if physical:
                    done = self._read_physical(at, part)
                else:
                    done = guest_memory.read_virtual(self._handle, number, at, part)
                if done < len(part):
                    raise GuestFault(at + done, "read")
                found += part
        return bytes(found)

    def _write(self, address: int, data: bytes, vcpu: int, physical: bool) -> None:
        with self._pauses.held():
            if physical:
                done, outcome = self._write_physical(address, data)
            else:
                done, outcome = guest_memory.write_virtual(self._handle, self._number(vcpu), address, data)
        if outcome != guest_memory.DONE:
            raise GuestFault(address + done, _REFUSED[outcome])

    def _translate(self, address: int, vcpu: int) -> int:
        with self._pauses.held():
            found = guest_memory.translate(self._handle, self._number(vcpu), address)
        if found is None or found[1] is None:
            raise GuestFault(address, "read" if found is None else "read of a page of others")
        return found[1] << 12 | address & (_PAGE - 1)

    def _number(self, vcpu: int) -> int:
        if not 0 <= vcpu < self._handle.max_vcpus:
            raise ConfigError(f"the domain has vcpus 0 to {self._handle.max_vcpus - 1}, and no vcpu {vcpu}")
        return vcpu

    def _mfn(self, pfn: int) -> int | None:
        pfns, mfns = self._frames
        index = bisect_left(pfns, pfn)
        return mfns[index] if index < len(pfns) and pfns[index] == pfn else None

    def _read_physical(self, address: int, buffer: bytearray) -> int:
        """How many bytes came."""
        view = memoryview(buffer)
        for at, place, length in _pages(address, len(buffer)):
            part = view[at : at + length]
            for known in (True, False):
                if not known:
                    self._frames = own_frames(self._handle)
                mfn = self._mfn(place >> 12)
                if mfn is not None and guest_memory.read_frame(
                    self._handle, place >> 12, mfn, place & (_PAGE - 1), part
                ):
                    break
            else:
                return at
        return len(buffer)

    def _write_physical(self, address: int, data: bytes) -> tuple[int, int]:
        self._frames = own_frames(self._handle)
        for at, place, length in _pages(address, len(data)):
            mfn = self._mfn(place >> 12)
            outcome = guest_memory.UNMAPPED
            if mfn is not None:
                part = data[at : at + length]
                outcome = guest_memory.write_frame(self._handle, place >> 12, mfn, place & (_PAGE - 1), part)
            if outcome != guest_memory.DONE:
                return at, outcome
        return len(data), guest_memory.DONE


def _place(address: Any, size: Any) -> tuple[int, int]:
    address, size = values.ANY_NUMBER("address", address), values.ANY_NUMBER("size", size)
    if address < 0 or size < 0 or address + size > _ADDRESSES:
        where = hex(address) if address.bit_length() <= _SHOWN_BITS else values.shown(address)
        raise ConfigError(f"an address has 64 bits: there are no {values.shown(size)} bytes at {where}")
    return address, size


def _pages(address: int, size: int) -> list[tuple[int, int, int]]:
    """How far in, where, and how many bytes of each page."""
    found, done = [], 0
    while done < size:
        place = address + done
        length = min(size - done, _PAGE - place % _PAGE)
        found.append((done, place, length))
        done += length
    return found
