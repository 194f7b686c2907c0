"""A network's process with code injected into it: python broken_network.py ATTEMPTS.so REPORT WHERE

WHERE is the thread on which it runs: `main`, or `network`, where libslirp's work is done.  It tries all that attempts.c
knows, and notes in REPORT, which is open since before the walls, what came of it.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import socket
import sys
import threading
from pathlib import Path

from xenia.net.service import process
from xenia.net.service.client import NetworkConfig
from xenia.net.service.network import Network

LIBRARY, REPORT, WHERE = sys.argv[1:]
ALL = re.findall(r'IS\("(.*?)"\)', Path(__file__).with_name("attempts.c").read_text())
SECRET = os.environ["SECRET"]
NUMBERS = {"connect over TCP": int(os.environ["PORT"]), "map a file as code": os.memfd_create("code")}
os.ftruncate(NUMBERS["map a file as code"], 4096)
PATHS = {name: f"{SECRET}.new" for name in ("create", "symlink", "mknod")}
attempts = ctypes.CDLL(LIBRARY)
attempts.catch()
report = os.open(REPORT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
outsider = os.getppid()
ours, theirs = socket.socketpair()


def try_all() -> None:
    """Once, and the network ends: its owner goes."""
    found = {"thread": threading.current_thread().name}
    for name in ALL:
        number = ctypes.c_long(NUMBERS.get(name, outsider))
        found[name] = attempts.attempt(name.encode(), PATHS.get(name, SECRET).encode(), number)
    os.write(report, json.dumps(found).encode())
    ours.close()


class BrokenNetwork(Network):
    """One where somebody broke in."""

    def start(self) -> None:
        """Begin, and have the code run: on the loop's thread that is when a card goes."""
        super().start()
        if WHERE == "main":
            try_all()
            return
        self.gone = lambda port: try_all()
        made: list[int] = []
        self.attach(made, "card", "00:16:3e:00:00:01")
        for descriptor in made:
            os.close(descriptor)


process.Network = BrokenNetwork  # type: ignore[attr-defined]
process.Process(NetworkConfig(nat=False), theirs, None, False).run()
