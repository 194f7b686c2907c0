"""`xenia create`: a domain of the daemon's, in xl's words."""

from __future__ import annotations

import argparse
import json
import os

from xenia.cli.configuration import configuration, file_of
from xenia.cli.exit_status import ExitStatus
from xenia.cli.voice import Voice
from xenia.errors import ConfigError

_SIZE = (24, 80)  # of a terminal that nobody has seen yet


def create(options: argparse.Namespace, voice: Voice) -> int:
    """Make it, and let it run.  What fails is one line, and status 1, as in xl."""
    try:
        return _create(options, voice)
    except ConfigError as error:
        voice.error(str(error))
        return ExitStatus.PROBLEM


def _create(options: argparse.Namespace, voice: Voice) -> int:
    path = file_of(options)
    if path is None and not options.words:
        raise ConfigError("no configuration file specified")
    asked = configuration(path, options, voice)
    if options.vncviewer:
        raise ConfigError("a domain has no screen that a VNC viewer could show: -c attaches to its console")
    if options.dryrun or options.only_say:
        print(json.dumps({"domid": None, "config": asked.domain.said}, indent=4))
        return ExitStatus.OK
    if path is not None:
        voice.say(f"Parsing config from {path}")

    from xenia.cli.background import await_ending
    from xenia.cli.domains import attached
    from xenia.storage.folder import telling
    from xenia.toolstack.attach.terminal import Terminal
    from xenia.toolstack.provision.boot import Screen
    from xenia.toolstack.service.attach import AttachedConsole
    from xenia.toolstack.service.create import create as create_domain

    size = Terminal().size() or _SIZE
    with telling(voice.progress):
        place = create_domain(asked.domain, asked.guest, voice, Screen(os.environ.get("TERM", "linux"), *size))
    voice.clear()
    seat = AttachedConsole(place) if options.console else None
    if not options.paused:
        place.ask("unpause")
    status = ExitStatus.OK if seat is None else attached(seat, voice)
    if options.foreground:
        await_ending(str(place.number), None)
    return status
