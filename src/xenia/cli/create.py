"""`xenia create`: a domain of the daemon's, in xl's words."""

from __future__ import annotations

import argparse
import os

from xenia.cli.exit_status import ExitStatus
from xenia.cli.voice import Voice
from xenia.errors import ConfigError

_SIZE = (24, 80)  # of a terminal that nobody has seen yet


def create(options: argparse.Namespace, voice: Voice) -> int:
    """Make it, and let it run.  What fails is one line, and status 1, as in xl."""
    from xenia.cli.domains import attached
    from xenia.toolstack.attach.terminal import Terminal
    from xenia.toolstack.config.machine import MachineConfig
    from xenia.toolstack.provision.boot import Screen
    from xenia.toolstack.service.attach import AttachedConsole
    from xenia.toolstack.service.create import create as create_domain, of_guest

    try:
        guest = MachineConfig(name=options.words[0])
        size = Terminal().size() or _SIZE
        place = create_domain(of_guest(guest), guest, voice, Screen(os.environ.get("TERM", "linux"), *size))
        seat = AttachedConsole(place) if options.console else None
        if not options.paused:
            place.ask("begin")
        if seat is not None:
            return attached(seat, voice)
    except ConfigError as error:
        voice.error(str(error))
        return ExitStatus.PROBLEM
    return ExitStatus.OK
