"""The names that Linux has for its own addresses: kallsyms, as it lies in the kernel's memory (kernel/kallsyms.c).

Theory of operation.  Nothing says where the tables are, but they have a shape: 256 tokens, of which those of digits are
the digits, and behind them where each token begins.  Somewhere before are how many names there are, the names (each a
length, and as many tokens), and where each 256th of them begins: the markers.  Until Linux 6.3 the offsets of the
names' addresses and the base that they are from come before their number; since then, behind the tokens, and the
markers end where the tokens begin.  What merely looks so is found out by the markers, which have to be where the names
end and agree with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from struct import unpack_from
from typing import Final, NamedTuple

from xenia.errors import ConfigError
from xenia.toolstack.symbols.kernel_memory import BASE, KernelMemory

_DIGITS: Final = b"".join(b"%d\0" % digit for digit in range(10))
_TOKENS, _EACH = 256, 256
_MOST: Final = 1 << 22  # names
_WALKED: Final = 1 << 24  # names, in all that looks like tables: a guest may write there what it likes
_LONGEST: Final = 512  # bytes of a name
_FURTHEST: Final = 8 << 20  # from the names to the tokens
_BASE_AND_COUNT: Final = re.compile(rb"(?=\0.{2}[\x80-\xbf]\xff{4}.{3}\0{5})", re.DOTALL)

_Place = tuple[int, int, int, int]
"""Of names and offsets: where the names begin, how many there are; where the offsets begin, and what they are from."""


class Symbol(NamedTuple):
    """kind   as nm tells it: T text, D data, ..., small where it is local"""

    address: int
    kind: str
    name: str


def read_kallsyms(memory: KernelMemory) -> list[Symbol]:
    """The kernel's symbols, without those of modules, as they lie there.  ConfigError where there are none."""
    budget = iter(range(_WALKED))
    for _, run in memory.runs:
        at = run.find(_DIGITS)
        while at >= 0:
            found = _Tables.of(run, at, budget)
            if found is not None:
                return found.symbols()
            at = run.find(_DIGITS, at + 1)
    raise ConfigError("the guest's kernel has no table of its symbols in memory (CONFIG_KALLSYMS)")


@dataclass(frozen=True)
class _Tables:
    data: bytearray
    tokens: list[bytes]
    names: list[int]
    addresses: list[int]

    @classmethod
    def of(cls, data: bytearray, digits: int, budget: Iterator[int]) -> _Tables | None:
        """Those whose tokens of digits are there.

        budget   as many names may be looked at as it has elements
        """
        end = digits
        for _ in range(_TOKENS - ord("0")):
            end = data.find(b"\0", end, end + _LONGEST) + 1
            if not end:
                return None
        index_at = _aligned(end)
        if index_at + 2 * _TOKENS > len(data):
            return None
        index = unpack_from(f"<{_TOKENS}H", data, index_at)
        start = digits - index[ord("0")]
        if index[0] or list(index) != sorted(set(index)) or start < 0 or not 0 < end - start - index[-1] < _LONGEST:
            return None
        tokens = [bytes(data[start + at : data.index(b"\0", start + at)]) for at in index]
        for names_at, count, offsets, base in (
            *_before(data, start), *_behind(data, start, index_at + 2 * _TOKENS)
        ):  # fmt: skip
            names = _names(data, names_at, count, budget)
            if names is not None:
                return cls(data, tokens, names, _addresses(data, offsets, base, count))
        return None

    def symbols(self) -> list[Symbol]:
        """All, with their names put together."""
        data, tokens = self.data, self.tokens
        found = []
        for address, at in zip(self.addresses, self.names, strict=True):
            begin, end = _name(data, at)
            name = b"".join([tokens[token] for token in data[begin:end]]).decode("latin-1")
            found.append(Symbol(address, name[:1], name[1:]))
        return found


def _aligned(at: int) -> int:
    return (at + 7) // 8 * 8


def _name(data: bytearray, at: int) -> tuple[int, int]:
    """Where the tokens of the name at `at` begin and end."""
    length, begin = data[at], at + 1
    if length & 0x80:  # Linux 6.1
        length, begin = length & 0x7F | data[at + 1] << 7, at + 2
    return begin, begin + length


def _before(data: bytearray, tokens: int) -> Iterator[_Place]:
    """Where the names may be if offsets, base and number come before them."""
    for match in _BASE_AND_COUNT.finditer(data, max(tokens - _FURTHEST, 0), tokens):
        at = match.start()
        base, count = unpack_from("<QQ", data, at)
        offsets = at - _aligned(4 * count)
        if at % 8 == 0 and _EACH < count <= _MOST and offsets >= 0 and 2 * count < tokens - at < _LONGEST * count:
            yield at + 16, count, offsets, base


def _behind(data: bytearray, tokens: int, index_end: int) -> Iterator[_Place]:
    """And if the markers end at the tokens, and offsets and base are behind those."""
    at, last, blocks = tokens - 4, 0, 0
    while at >= 0 and blocks <= _MOST // _EACH:
        (value,) = unpack_from("<I", data, at)
        if value == 0 and last:
            break
        if last and value >= last:
            return
        last, blocks, at = value, blocks + (value != 0), at - 4
    (furthest,) = unpack_from("<I", data, at + 4 * blocks)
    end = at - furthest
    for place in range(end // 8 * 8, max(end - _EACH * _LONGEST, 7), -8):
        (count,) = unpack_from("<Q", data, place - 8)
        if count > _EACH and (count - 1) // _EACH == blocks:
            offsets = _aligned(index_end)
            base_at = offsets + _aligned(4 * count)
            if base_at + 8 <= len(data):
                (base,) = unpack_from("<Q", data, base_at)
                if base >= BASE and not base % 4096:
                    yield place, count, offsets, base


def _names(data: bytearray, at: int, count: int, budget: Iterator[int]) -> list[int] | None:
    """Where each begins, if the markers agree."""
    first, found = at, []
    limit = len(data) - 4 * (count // _EACH + 3)
    for _, _ in zip(range(count), budget, strict=False):
        if at >= limit:
            return None
        found.append(at)
        at = _name(data, at)[1]
    if len(found) < count:
        return None
    blocks = found[::_EACH]
    markers = unpack_from(f"<{len(blocks)}I", data, _aligned(at)) if at < limit else ()
    return found if list(markers) == [block - first for block in blocks] else None


def _addresses(data: bytearray, offsets: int, base: int, count: int) -> list[int]:
    found = unpack_from(f"<{count}i", data, offsets)
    if sum(offset < 0 for offset in found) * 2 > count:  # those of a processor's own area are positive
        return [offset if offset >= 0 else base - 1 - offset for offset in found]
    return [base + offset % (1 << 32) for offset in found]
