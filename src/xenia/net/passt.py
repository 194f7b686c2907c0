"""passt as a link: a user-mode network of somebody else's, in a process of its own.

It is given one end of a socket pair, speaks frames with a length before each on it, and ends when the other end does.
What it forwards by itself of this host's loopback to its guests is turned off, and what a guest sends to the host all
the same never gets to it (passt_link.pyx).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Sequence
from ipaddress import IPv6Address
from pathlib import Path

from xenia.errors import ConfigError
from xenia.net.passt_link import PasstLink
from xenia.net.sockets import prepare

_IPV4, _IPV6 = Path("/proc/net/fib_trie"), Path("/proc/net/if_inet6")
_LOCAL = re.compile(r"\|-- ([0-9.]+)\n\s+/32 host LOCAL")
_MOST = 1 << 22  # bytes of those that are handed on


def opened(forwards: Sequence[str], mtu: int) -> tuple[int, int]:
    """Our end's descriptor, and that of a file with the host's addresses: of both, `link` makes a link."""
    written = os.memfd_create("addresses")
    try:
        os.write(written, json.dumps(own_addresses()).encode())
        os.lseek(written, 0, os.SEEK_SET)
        return start(forwards, mtu), written
    except BaseException:
        os.close(written)
        raise


def link(descriptors: Sequence[int]) -> PasstLink:
    """A link of what `opened` gave, which is its own from now on."""
    connection, written = descriptors
    try:
        own = json.loads(os.read(written, _MOST))
    finally:
        os.close(written)
    return PasstLink(connection, own)


def own_addresses() -> list[str]:
    """All that the host has now, but for its loopback's."""
    found = set(_LOCAL.findall(_IPV4.read_text())) if _IPV4.exists() else set()
    for line in _IPV6.read_text().splitlines() if _IPV6.exists() else ():
        found.add(str(IPv6Address(bytes.fromhex(line.split()[0]))))
    return sorted(found)


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
