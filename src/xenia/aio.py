"""For asyncio: commands in guests of their own, awaited.

import asyncio
from xenia import aio

async def main():
    kernels = "debian", "debian-cloud"
    print(await asyncio.gather(*(aio.run(["uname", "-r"], kernel=kernel, text=True) for kernel in kernels)))

asyncio.run(main())
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence
from typing import Any, Unpack

from xenia.toolstack.commands.process import decoded
from xenia.toolstack.config.values import given
from xenia.toolstack.scripting.options import GuestOptions
from xenia.toolstack.scripting.run import GRACE, SUBPROCESS, Program, Result, Word

__all__ = ["Result", "run"]


@given(**SUBPROCESS)
async def run(
    args: Sequence[Word] | str,
    *,
    input: str | bytes | None = None,
    timeout: float | None = None,
    check: bool = False,
    text: bool = False,
    encoding: str | None = None,
    errors: str | None = None,
    **guest: Unpack[GuestOptions],
) -> Result:
    """`xenia.run`, awaited: the loop goes on meanwhile.  A task that is cancelled takes its guest with it."""
    coding = encoding or ("utf-8" if text or errors else None)
    data = input.encode(coding or "utf-8", errors or "strict") if isinstance(input, str) else input
    with Program(args, guest) as program:
        process = await asyncio.create_subprocess_exec(
            *program.arguments, stdin=subprocess.DEVNULL if data is None else subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **program.options,
        )  # fmt: skip
        streams = asyncio.ensure_future(process.communicate(data))
        try:
            over = not (await asyncio.wait({streams}, timeout=timeout))[0]
        except asyncio.CancelledError:
            await _end(process, streams)
            raise
        if over:
            await _end(process, streams)
        out, err = (decoded(stream, coding, errors) for stream in await streams)
        if over:
            assert timeout is not None
            raise subprocess.TimeoutExpired(args, timeout, out, err)
        assert process.returncode is not None
        return program.result(process.returncode, out, err, check)


async def _end(process: asyncio.subprocess.Process, streams: asyncio.Future[Any]) -> None:
    """Have it give everything back; `streams` has what it wrote, then."""
    process.terminate()
    if not (await asyncio.wait({streams}, timeout=GRACE))[0]:
        process.kill()
        await asyncio.wait({streams})
