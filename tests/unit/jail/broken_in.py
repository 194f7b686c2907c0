"""`xenia run` with code injected into it: python broken_in.py ATTEMPTS.so REPORT WHERE ARGUMENT...

WHERE is the thread on which it runs: `vcpu` (when the guest has ended), `worker` (when a disk in layers is read),
`store` or `main`.  It tries what $TRY says (all that attempts.c knows), notes in REPORT, which is open since before the
jail, what came of it, and lets the run go on.  `vcpu!` leaves the handler to the jail that it has by itself.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import sys
import threading
from pathlib import Path
from typing import Any

from xenia.cli import main
from xenia.machine.thread import HostThread
from xenia.storage.file import RawFile
from xenia.toolstack.attach.session import Session
from xenia.xenstore.server import Server

LIBRARY, REPORT, WHERE, *ARGUMENTS = sys.argv[1:]
ALL = re.findall(r'IS\("(.*?)"\)', Path(__file__).with_name("attempts.c").read_text())
NAMES = os.environ["TRY"].split(",") if os.environ["TRY"] else ALL
THREADS = {"vcpu": "d1v0", "worker": "vbd worker", "store": "xenstore", "main": "MainThread"}
attempts = ctypes.CDLL(LIBRARY)
report = os.open(REPORT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
# Something of the operator's, a process of his, a place of a server's, and a file that could be mapped.
SECRET = os.environ["SECRET"]
NUMBERS = {"connect over TCP": int(os.environ["PORT"]), "map a file as code": os.memfd_create("code")}
os.ftruncate(NUMBERS["map a file as code"], 4096)
NUMBERS["open"] = os.getppid()
PATHS = {name: f"{SECRET}.new" for name in ("create", "symlink", "mknod")}
done = False


def try_all() -> None:
    global done
    if done or threading.current_thread().name != THREADS[WHERE.rstrip("!")]:
        return
    done = True
    found: dict[str, Any] = {}
    for name in NAMES:
        path = PATHS.get(name, SECRET)
        found[name] = attempts.attempt(name.encode(), path.encode(), ctypes.c_long(NUMBERS.get(name, NUMBERS["open"])))
    os.write(report, json.dumps(found).encode())


def around(owner: Any, name: str, *, after: bool = False) -> None:
    """Let the injected code run before a method of ours, or after it."""
    original = getattr(owner, name)

    def method(*arguments: Any, **options: Any) -> Any:
        if not after:
            try_all()
        try:
            return original(*arguments, **options)
        finally:
            if after:
                try_all()

    setattr(owner, name, method)


match WHERE.rstrip("!"):
    case "vcpu":
        around(HostThread, "run", after=True)
    case "worker":
        around(RawFile, "_read")
    case "store":
        around(Server, "_serve")
    case "main":
        around(Session, "run")

if not WHERE.endswith("!"):
    attempts.catch()
sys.argv = ["xenia", *ARGUMENTS]
main.main()
