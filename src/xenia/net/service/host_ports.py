"""Ports of the host that lead to guests, or could."""

from __future__ import annotations

import errno
import socket
import time

_LETS_GO = 0.5  # seconds; a socket that was closed keeps its port until the loop no longer waits for it


def free_port(protocol: str, address: str, port: int = 0) -> int:
    """That port, or one that nobody has right now.  OSError where it is not to be had."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM) as probe:
        if port and protocol == "tcp":  # connections that came by it may still be there
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((address, port))
        return int(probe.getsockname()[1])


def wait_until_free(protocol: str, address: str, port: int) -> None:
    """Wait until the loop has let go of a port that was just given back, half a second at most."""
    end = time.monotonic() + _LETS_GO
    while time.monotonic() < end:
        try:
            free_port(protocol, address, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                time.sleep(0.001)
                continue
        return
