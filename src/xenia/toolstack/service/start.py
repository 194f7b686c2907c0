"""Starting the daemon: in the foreground of a command, behind it, or because a client needs one."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from xenia import interpreter
from xenia.errors import ConfigError
from xenia.toolstack.config.machine import MIB, format_size, host_memory
from xenia.toolstack.control.client import NoSuchGuest, ask_daemon, other_build
from xenia.toolstack.runtime import runtime_directory

LOG = "daemon.log"

# It ends with the user's session, as all that listens in $XDG_RUNTIME_DIR does.
_UNIT = """\
[Unit]
Description=Xenia: domains of this user
Documentation=man:xenia(1)

[Service]
Type=exec
ExecStart={program} daemon{memory}
KillMode=mixed
TimeoutStopSec=60
Restart=on-failure

[Install]
WantedBy=default.target
"""


def default_memory() -> int:
    """Bytes for domains where nobody says how many: three quarters of what the host has, and lets us have."""
    from xenia.toolstack.machine.limits import cgroup_limit

    most = min(filter(None, (host_memory(), cgroup_limit())))
    return most * 3 // 4 // MIB * MIB


def serve(memory: int | None, on_ready: Callable[[int], object]) -> None:
    """Be the daemon until it is told to stop, or a signal's exception comes up.  Main thread only.

    on_ready   is called once clients are answered, with the bytes that there are for domains

    ConfigError where the user has a daemon already, or the memory is more than the host has.
    """
    from xenia.toolstack.service.daemon import Daemon

    if memory is not None and memory > host_memory():
        raise ConfigError(f"memory {format_size(memory)} is more than this host has ({host_memory() // MIB}M)")
    found = memory if memory is not None else default_memory()
    with closing(Daemon(found)) as daemon:
        daemon.start()
        on_ready(found)
        daemon.stopping.wait()


def detach(memory: int | None = None) -> int:
    """Start the daemon as a process that outlives this one, and wait until it answers; its number.

    ConfigError where it does not come to be, with what it said.
    """
    log = runtime_directory() / LOG
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    arguments = ["daemon", "--ready", str(write_fd)]
    if memory is not None:
        arguments += ["--memory", format_size(memory)]
    with log.open("ab") as said, open(read_fd, "rb") as ready:
        try:
            process = subprocess.Popen(
                interpreter.command("xenia", *arguments),
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, pass_fds=[write_fd], start_new_session=True,
                cwd="/", env=interpreter.environment(),
            )  # fmt: skip
        finally:
            os.close(write_fd)
        answer = ready.read().decode(errors="replace").strip()
    if answer == "ready":
        process.returncode = 0  # it is not ours to wait for
        return process.pid
    process.wait()
    with suppress(NoSuchGuest):  # another client was quicker
        pid = int(ask_daemon("about")["pid"])
        if memory is not None:
            raise ConfigError(f"the daemon runs already, in process {pid}, with the memory that it was started with")
        return pid
    raise ConfigError(f"the daemon has not started: {answer or f'see {log}'}")


def ensure() -> None:
    """See to it that the daemon runs.  ConfigError where it cannot, or where the one that does is of another build."""
    try:
        ask_daemon("domains")
    except NoSuchGuest:
        detach()
    if (line := other_build()) is not None:
        raise ConfigError(line)


def unit(program: str, memory: int | None = None) -> str:
    """A unit of systemd's for this user's daemon; `program` is the path of `xenia`, `memory` bytes for domains."""
    return _UNIT.format(program=program, memory="" if memory is None else f" --memory {format_size(memory)}")


def unit_path() -> Path:
    """Where systemd looks for it."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(base, "systemd", "user", "xenia.service")


def log_to(handler: logging.Handler) -> None:
    """Have the daemon's news told, too."""
    logger = logging.getLogger("xenia")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
