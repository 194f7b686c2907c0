"""passt as a link: a user-mode network of somebody else's, in a process of its own.

It is given one end of a socket pair, speaks frames with a length before each on it, and ends when the other end does.
What it forwards by itself of this host's loopback to its guests is turned off.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Sequence

from xenia.errors import ConfigError
from xenia.net.sockets import prepare


def start(forwards: Sequence[str], mtu: int) -> int:
    """Our end's descriptor.

    forwards   each proto:address:port:guest_port, and the address may be left out
    mtu        bytes, which guests are told

    ConfigError where it is not installed or does not start.
    """
    program = shutil.which("passt")
    if program is None:
        raise ConfigError("passt is not installed: install the package passt, or use --net user, which needs nothing")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        prepare(ours)
        prepare(theirs)
        command = [program, "--fd", str(theirs.fileno()), "--quiet", "--no-map-gw", "--mtu", str(mtu)]
        for forward in forwards:
            command += _option(forward)
        ended = subprocess.run(
            command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        if ended.returncode:
            told = ended.stderr.decode(errors="replace").strip().splitlines() or [f"status {ended.returncode}"]
            raise ConfigError(f"passt does not start: {told[-1]}")
        return ours.detach()


def _option(forward: str) -> list[str]:
    protocol, *place = forward.split(":")
    port, guest_port = place[-2:]
    address = ":".join(place[:-2]).strip("[]") or "127.0.0.1"
    return [{"tcp": "--tcp-ports", "udp": "--udp-ports"}[protocol], f"{address}/{port}:{guest_port}"]
