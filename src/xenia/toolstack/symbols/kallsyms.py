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
from itertools import chain, islice
from struct import unpack_from
from typing import Final, NamedTuple

from xenia.errors import ConfigError
from xenia.toolstack.symbols.kernel_memory import BASE, KernelMemory

_DIGITS: Final = b"".join(b"%d\0" % digit for digit in range(10))
_TOKENS, _EACH = 256, 256
_MOST: Final = 1 << 20  # names
_MOST_TEXT: Final = 64 << 20  # bytes of all names
_LONGEST: Final = 512  # bytes of a name, of a token; tokens of a name
# A guest may write there what it likes; so much is looked at before there are no tables:
_WALKED: Final = 1 << 24  # names and places where they may be, in all that looks like tables
_MOST_DIGITS, _MOST_INDEXED = 10_000, 64  # tokens of digits, and those of them behind which is an index
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
    for data, start, index_at, tokens in islice(_indexed(memory), _MOST_INDEXED):
        for names_at, count, offsets, base in chain(_before(data, start, budget), _behind(data, start, index_at)):
            names = _names(data, names_at, count, budget)
            addresses = _addresses(data, offsets, base, count) if names is not None else None
            found = _symbols(data, tokens, names, addresses) if names is not None and addresses is not None else None
            if found is not None:
                return found
        if next(budget, None) is None:
            break
    raise ConfigError("the guest's kernel has no table of its symbols in memory (CONFIG_KALLSYMS)")


def _indexed(memory: KernelMemory) -> Iterator[tuple[bytearray, int, int, list[bytes]]]:
    """What has the shape of tokens: the run of memory, where in it they begin, where their index ends, and they."""
    for data, digits in islice(_digits(memory), _MOST_DIGITS):
        found = _tokens(data, digits)
        if found is not None:
            yield data, *found


def _digits(memory: KernelMemory) -> Iterator[tuple[bytearray, int]]:
    for _, data in memory.runs:
        at = data.find(_DIGITS)
        while at >= 0:
            yield data, at
            at = data.find(_DIGITS, at + 1)


def _tokens(data: bytearray, digits: int) -> tuple[int, int, list[bytes]] | None:
    """Those whose tokens of digits are there: where they begin, where their index ends, and they."""
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
    ends = [data.find(b"\0", start + at, start + at + _LONGEST) for at in index]
    if min(ends) < 0:
        return None
    return start, index_at + 2 * _TOKENS, [bytes(data[start + at : end]) for at, end in zip(index, ends, strict=True)]


def _aligned(at: int) -> int:
    return (at + 7) // 8 * 8


def _name(data: bytearray, at: int) -> tuple[int, int]:
    """Where the tokens of the name at `at` begin and end."""
    length, begin = data[at], at + 1
    if length & 0x80:  # Linux 6.1
        length, begin = length & 0x7F | data[at + 1] << 7, at + 2
    return begin, begin + length


def _before(data: bytearray, tokens: int, budget: Iterator[int]) -> Iterator[_Place]:
    """Where the names may be if offsets, base and number come before them."""
    for match, _ in zip(_BASE_AND_COUNT.finditer(data, max(tokens - _FURTHEST, 0), tokens), budget, strict=False):
        at = match.start()
        base, count = unpack_from("<QQ", data, at)
        offsets = at - _aligned(4 * count)
        if at % 8 == 0 and _EACH < count <= _MOST and offsets >= 0 and 2 * count < tokens - at < _LONGEST * count:
            yield at + 16, count, offsets, base


def _behind(data: bytearray, tokens: int, index_end: int) -> Iterator[_Place]:
    """And if the markers end at the tokens, and offsets and base are behind those."""
    last, blocks = 0, 0
    for at in range(tokens - 4, max(tokens - 4 * (_MOST // _EACH + 3), 0), -4):
        (value,) = unpack_from("<I", data, at)
        if value == 0 and last:
            break
        if last and value >= last:
            return
        last, blocks = value, blocks + (value != 0)
    else:
        return
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
    """Where each begins, if none is too long and the markers agree."""
    first, found = at, []
    limit = len(data) - 4 * (count // _EACH + 3)
    for _, _ in zip(range(count), budget, strict=False):
        if at >= limit:
            return None
        found.append(at)
        begin, at = _name(data, at)
        if at - begin > _LONGEST:
            return None
    if len(found) < count:
        return None
    blocks = found[::_EACH]
    markers = unpack_from(f"<{len(blocks)}I", data, _aligned(at)) if at < limit else ()
    return found if list(markers) == [block - first for block in blocks] else None


def _addresses(data: bytearray, offsets: int, base: int, count: int) -> list[int] | None:
    """None where one is none."""
    found = unpack_from(f"<{count}i", data, offsets)
    if sum(offset < 0 for offset in found) * 2 > count:  # those of a processor's own area are positive
        addresses = [offset if offset >= 0 else base - 1 - offset for offset in found]
    else:
        addresses = [base + offset % (1 << 32) for offset in found]
    return addresses if max(addresses) < 1 << 64 else None


def _symbols(data: bytearray, tokens: list[bytes], names: list[int], addresses: list[int]) -> list[Symbol] | None:
    """All, with their names put together; None where those are too long."""
    found, left = [], _MOST_TEXT
    for address, at in zip(addresses, names, strict=True):
        begin, end = _name(data, at)
        name = b"".join([tokens[token] for token in data[begin:end]]).decode("latin-1")
        left -= len(name)
        if len(name) > _LONGEST or left < 0:
            return None
        found.append(Symbol(address, name[:1], name[1:]))
    return found
