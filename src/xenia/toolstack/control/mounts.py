"""Shared folders of a guest that runs: mounted, and unmounted, by its agent."""

from __future__ import annotations

import subprocess

from xenia.errors import ConfigError
from xenia.toolstack.commands.process import run
from xenia.toolstack.control.client import Place

OPTIONS = "trans=xen,version=9p2000.L,access=any,msize=524288,cache=mmap,locktimeout=1"
_PATIENCE = 30.0  # seconds for the guest to carry it out
_MOST_SAID = 4096  # bytes of what it says of it

# A frontend that has just been made may not have its rings yet: tag, folder, options.
_MOUNT = """\
modprobe -q 9pnet_xen 2>/dev/null
mkdir -p "$2" || exit
for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    mount -t 9p -o "$3" "$1" "$2" 2>/dev/null && exit
    sleep 0.1
done
mount -t 9p -o "$3" "$1" "$2"
"""
# The kernel says a space in a place as \040.
_UNMOUNT = """\
while read -r tag at kind _; do
    [ "$tag $kind" != "$1 9p" ] || umount "$(printf %b "$at")" || exit
done </proc/mounts
"""


def mount(place: Place, tag: str, folder: str, *, read_only: bool) -> str:
    """Mount it there; "", or why it is not mounted."""
    return _carried_out(place, _MOUNT, tag, folder, f"{OPTIONS},ro" if read_only else OPTIONS)


def unmount(place: Place, tag: str) -> None:
    """Unmount it, wherever it is.  ConfigError where it is in use; of a guest without an agent it is not known."""
    if (why := _carried_out(place, _UNMOUNT, tag)).startswith("umount"):
        raise ConfigError(f"{place} still uses it (--force takes it away all the same): {why}")


def _carried_out(place: Place, script: str, *words: str) -> str:
    try:
        done = run(place.starter, ["/bin/sh", "-c", script, "sh", *words], timeout=_PATIENCE, most=_MOST_SAID)
    except (ConfigError, subprocess.TimeoutExpired) as error:
        return str(error) if isinstance(error, ConfigError) else "it does not answer"
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return "" if done.returncode == 0 else said[-1] if said else f"mount ended with {done.returncode}"
