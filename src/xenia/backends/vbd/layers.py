"""Requests of a guest, carried out by a stack of storage layers."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from xenia.storage.layer import Layer, Operation, Request

# By Op.kind of request.pxd.
_OPERATIONS = (Operation.READ, Operation.WRITE, Operation.FLUSH, Operation.DISCARD, Operation.SECURE_DISCARD)


def submit(
    layer: Layer, requests: Sequence[tuple[int, int, int, list[memoryview], bool, bool]]
) -> list[tuple[int, bool]]:
    """Carry out (kind, offset, length, memory, flush before, flush after) in order.

    Answers for each with an errno, or 0, and whether it was a flush that failed.
    """
    batch: list[Request] = []
    parts: list[list[Request]] = []
    for kind, offset, length, memory, flush_first, flush_after in requests:
        operation = _OPERATIONS[kind]
        part = [Request(operation, offset, length, memory)]
        if operation is not Operation.FLUSH:
            if flush_first:
                part.insert(0, Request(Operation.FLUSH))
            if flush_after:
                part.append(Request(Operation.FLUSH))
        batch += part
        parts.append(part)
    layer.submit(batch)
    answers: list[tuple[int, bool]] = []
    for part in parts:
        failed = [one for one in part if one.error]
        lost = any(one.operation is Operation.FLUSH for one in failed)
        answers.append((failed[0].error or errno.EIO if failed else 0, lost))
    return answers
