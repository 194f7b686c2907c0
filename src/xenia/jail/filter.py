"""Filters of system calls, assembled for seccomp(2) from tables of names.

A filter is a program of classic BPF.  It looks at the processor and the call's number, compares that with one name
after the other, and where a name has a condition, with arguments.  Each name is followed by its own answer, so that no
jump is long; the kernel keeps in a bitmap which calls are let through whatever their arguments are, and does
not run the program for those.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from xenia.jail.calls import HostProcessor

# linux/seccomp.h
KILL_PROCESS, TRAP, ERRNO, ALLOW = 0x80000000, 0x00030000, 0x00050000, 0x7FFF0000

# linux/bpf_common.h: load a word, compare, return
_LOAD, _AND, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_X32 = 0x40000000  # calls of x86-64's third ABI have this bit


@dataclass(frozen=True)
class When:
    """A condition: the low word of an argument, masked, is one of these values.  `otherwise`: what is answered where
    it is not, if that is something else than the filter says.  `also`: a further one, that has to hold too."""

    argument: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF
    otherwise: int | None = None
    also: When | None = None


def refusal(number: int) -> int:
    """The answer that makes a call fail with that errno."""
    return ERRNO | number


@dataclass(frozen=True)
class Filter:
    """What becomes of each call.

    allowed     calls that are let through, always (None) or on a condition
    answers     what others get
    otherwise   what those get that are named nowhere
    unmet       what those get whose condition does not hold (None: the same)
    """

    allowed: Mapping[str, When | None]
    answers: Mapping[str, int] = field(default_factory=dict)
    otherwise: int = TRAP
    unmet: int | None = None

    def program(self, processor: HostProcessor) -> bytes:
        """The instructions, an array of struct sock_filter.  Names that the processor does not have are left out."""
        code = [
            _instruction(_LOAD, _ARCHITECTURE),
            _instruction(_EQUAL, processor.audit, 1, 0),
            _instruction(_RETURN, KILL_PROCESS),
            _instruction(_LOAD, _NUMBER),
            _instruction(_AT_LEAST, _X32, 0, 1),
            _instruction(_RETURN, self.otherwise),
        ]
        for name, condition in self.allowed.items():
            if name in processor.numbers:
                code += self._allow(processor.numbers[name], condition)
        for name, answer in self.answers.items():
            if name in processor.numbers:
                code += _answer(processor.numbers[name], answer)
        code.append(_instruction(_RETURN, self.otherwise))
        return b"".join(code)

    def _allow(self, number: int, condition: When | None) -> list[bytes]:
        if condition is None:
            return _answer(number, ALLOW)
        body = []
        while condition is not None:
            body += [_instruction(_LOAD, _ARGUMENTS + 8 * condition.argument), _instruction(_AND, condition.mask)]
            left = len(condition.values)
            body += [_instruction(_EQUAL, value, left - i) for i, value in enumerate(condition.values)]
            refused = (condition.otherwise, self.unmet, self.otherwise)
            body.append(_instruction(_RETURN, next(answer for answer in refused if answer is not None)))
            condition = condition.also
        body.append(_instruction(_RETURN, ALLOW))
        return [_instruction(_EQUAL, number, 0, len(body)), *body]


def _answer(value: int, answer: int) -> list[bytes]:
    return [_instruction(_EQUAL, value, 0, 1), _instruction(_RETURN, answer)]


def _instruction(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, operand)


EPERM, ENOSYS = refusal(errno.EPERM), refusal(errno.ENOSYS)
