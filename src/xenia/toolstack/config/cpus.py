"""Which processors of a machine's are meant, in xl's words: `0-3,^1`, `all`, `node:0`, `-` for as before."""

from __future__ import annotations

import re
from collections.abc import Collection

from xenia.errors import ConfigError

_PART = re.compile(r"(\^)?(node[s]?:)?(?:(all)|([0-9]{1,9})(?:-([0-9]{1,9}))?)")
_MOST = 1 << 16


def parse_cpus(text: str, nr_pcpus: int) -> frozenset[int]:
    """The processors that `text` names, of a machine that has so many, on one node.

    ConfigError where that cannot be understood, or none of them is there.
    """
    found: set[int] = set()
    for word in filter(None, text.split(",")):
        part = _PART.fullmatch(word)
        if part is None:
            raise ConfigError(f"Invalid cpu range: {text}")
        out, node, everything, first, last = part.groups()
        ends = (0, _MOST) if everything else (int(first), int(last or first))
        if ends[0] > ends[1]:
            raise ConfigError(f"Invalid cpu range: {text}")
        if node:
            ends = (0, _MOST) if ends[0] == 0 else (_MOST, _MOST)
        named = range(ends[0], min(ends[1] + 1, nr_pcpus))
        if out:
            found.difference_update(named)
        else:
            found.update(named)
    if not found:
        raise ConfigError(f"'{text}' names no processor that is there: the machine has 0 to {nr_pcpus - 1}")
    return frozenset(found)


def parse_affinity(text: str, nr_pcpus: int) -> frozenset[int] | None:
    """The same; None for what stays as it was."""
    return None if text == "-" else parse_cpus(text, nr_pcpus)


def each_vcpu(text: str, nr_vcpus: int) -> Collection[tuple[int | None, str]]:
    """What `cpus=` of a configuration says: vcpu (None: all) and processors; in a list one after the other, with `;`
    between; nothing there is as before."""
    if not text:
        return ()
    if ";" not in text:
        return ((None, text),)
    return tuple(enumerate(said or "-" for said in text.split(";")[:nr_vcpus]))
