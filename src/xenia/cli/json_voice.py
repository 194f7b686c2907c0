"""Xenia's own words for another program: lines of JSON on a descriptor of its own (`xenia run --status-fd`)."""

from __future__ import annotations

import json
import os

from xenia.cli.voice import Voice
from xenia.errors import ConfigError
from xenia.toolstack.run import Outcome


class JsonVoice(Voice):
    """Each word is an object with one key, that says what it is; how the run ended is one with the key `ending`."""

    def __init__(self, descriptor: int, *, quiet: bool = False) -> None:
        """ConfigError where nothing can be written there."""
        try:
            os.write(descriptor, b"")
        except OSError as error:
            raise ConfigError(f"--status-fd {descriptor}: {error.strerror}") from None
        super().__init__(os.fdopen(descriptor, "w", encoding="utf-8", closefd=False), quiet=quiet)

    def say(self, text: str) -> None:
        if not self.quiet:
            self._tell(news=text)

    def warn(self, text: str) -> None:
        self._tell(warning=text)

    def error(self, text: str) -> None:
        self._tell(error=text)

    def plain(self, text: str) -> None:
        self._tell(text=text)

    def progress(self, what: str, done: int, total: int) -> None:
        """Progress is for the eye."""

    def busy(self, what: str, amount: str = "") -> None:
        """So is this."""

    def ended(self, outcome: Outcome) -> None:
        """How the run ended: `status` of its command, which signal `killed` that (0: none), else the `reason`."""
        self._tell(
            ending=outcome.ending.name.lower(), status=outcome.status, killed=outcome.killed, reason=outcome.reason
        )

    def _tell(self, **record: object) -> None:
        self._write(json.dumps(record) + "\n")
