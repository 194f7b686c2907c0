"""A guest of ours in its jail, as the command runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence


class Ours:
    """Runs a shell script; a card for each `net`, eth0 and on.

    within  a command that runs the command
    """

    def __init__(self, script: str, *nets: str, within: Sequence[str] = ()) -> None:
        cards = [word for net in nets for word in ("--net", net)]
        command = [*within, sys.executable, "-m", "xenia", "run", "--memory", "192M", *cards, "--", "sh", "-c", script]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self.output = b""

    def wait_for(self, word: bytes) -> bytes:
        """All that it has written as soon as that is in it."""
        assert self.process.stdout is not None
        while word not in self.output:
            data = os.read(self.process.stdout.fileno(), 65536)
            assert data, self.output
            self.output += data
        return self.output

    def close(self) -> None:
        """Let it end."""
        self.process.kill()
        self.process.communicate()
