"""What Xenia logs, said to the operator."""

from __future__ import annotations

import logging

from xenia.cli.voice import Voice


class VoiceHandler(logging.Handler):
    """Says what is logged: a guest's ring that is not served any more, output that goes nowhere, the daemon's news.

    Who logs may serve every guest, so it waits for standard error a moment once, and then no more until that is read
    again; what is logged meanwhile is lost.
    """

    _PATIENCE = 0.2  # seconds
    _LONGEST = 1000  # characters: what a pipe that takes anything takes whole

    def __init__(self, voice: Voice, level: int = logging.WARNING) -> None:
        super().__init__(level)
        self._voice = voice
        self._stuck = False

    def emit(self, record: logging.LogRecord) -> None:
        self._stuck = not self._voice.is_heard(0 if self._stuck else self._PATIENCE)
        if self._stuck:
            return
        say = self._voice.say
        if record.levelno >= logging.WARNING:
            say = self._voice.error if record.levelno >= logging.ERROR else self._voice.warn
        say(record.getMessage()[: self._LONGEST])
        if record.exc_info:
            self._voice.plain(logging.Formatter().formatException(record.exc_info)[-self._LONGEST :])


def tell_what_is_logged(voice: Voice) -> None:
    """From now on have warnings and errors said."""
    logging.getLogger("xenia").addHandler(VoiceHandler(voice))
