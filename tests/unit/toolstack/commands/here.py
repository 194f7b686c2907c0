"""A guest that is this very host: what its agent is given runs here."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress


def start(streams: Sequence[str], files: Sequence[int], within: Sequence[str] = ()) -> None:
    """A Starter.  `within` is a command that carries another one out."""
    control = socket.socket(fileno=os.dup(files[0]))
    pairs = [word.partition(b"=") for word in os.pread(files[1], 1 << 20, 0).split(b"\0")]
    given = dict(zip(streams, files[2:], strict=True))
    for one in given.values():
        os.set_blocking(one, True)
    stdin, stdout, stderr = (given.get(stream, subprocess.DEVNULL) for stream in ("stdin", "stdout", "stderr"))
    command: list[str | bytes] = [*within, *(value for key, _, value in pairs if key == b"arg")]
    process = subprocess.Popen(command, cwd="/", stdin=stdin, stdout=stdout, stderr=stderr)

    def tell() -> None:
        status = process.wait()
        with control, suppress(BrokenPipeError):  # who asked has left
            control.send(json.dumps({"status": status} if status >= 0 else {"signal": -status}).encode())

    threading.Thread(target=tell).start()


def with_mounts(script: str) -> Callable[[Sequence[str], Sequence[int]], None]:
    """The Starter of this host as it is where a shell script has mounted something that nobody else sees."""

    def begin(streams: Sequence[str], files: Sequence[int]) -> None:
        start(streams, files, ("unshare", "-Urmpf", "sh", "-c", f'{script}; exec "$@"', "sh"))

    return begin


def may_mount() -> bool:
    """Whether this host lets its users have mounts of their own."""
    return subprocess.run(["unshare", "-Urmpf", "true"], capture_output=True, check=False).returncode == 0


def sends(data: bytes, **news: int) -> Callable[[Sequence[str], Sequence[int]], None]:
    """The Starter of a guest whose commands take all that they are given, write this, and end so."""

    def begin(streams: Sequence[str], files: Sequence[int]) -> None:
        control = socket.socket(fileno=os.dup(files[0]))
        given = {stream: os.dup(one) for stream, one in zip(streams, files[2:], strict=True)}
        for one in given.values():
            os.set_blocking(one, True)

        def go_on() -> None:
            if (stdin := given.pop("stdin", None)) is not None:
                with open(stdin, "rb") as source:
                    source.read()
            with suppress(BrokenPipeError), open(given.pop("stdout", os.devnull), "wb") as target:
                target.write(data)
            for one in given.values():
                os.close(one)
            with control, suppress(BrokenPipeError):
                control.send(json.dumps(news).encode())

        threading.Thread(target=go_on).start()

    return begin
