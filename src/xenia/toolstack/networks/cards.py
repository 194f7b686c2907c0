"""The network cards of a guest that is about to be built."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xenia.errors import ConfigError
from xenia.toolstack.config.net import NetConfig
from xenia.toolstack.networks.cable import Cable
from xenia.toolstack.networks.opening import Opening
from xenia.toolstack.provision.cache import Progress, no_progress
from xenia.toolstack.releases import Releases


class Cards:
    """Begins their networks, so that they come to be while a kernel is prepared."""

    def __init__(
        self,
        guest: str,
        cards: Sequence[NetConfig] | None,
        warn: Callable[[str], None],
        progress: Progress = no_progress,
    ) -> None:
        """cards   None: one, on a network of the guest's own, that nobody asked for.  Where that cannot be had there
                   is a word to the operator, and none.
        warn, progress   hear that word, and what is fetched

        ConfigError.
        """
        self._asked = cards is not None
        self._warn = warn
        self._begun: list[Opening] = []
        try:
            for card in cards if cards is not None else (NetConfig().for_guest(guest, 0),):
                self._begun.append(Opening(card, progress))
        except ConfigError as failure:
            self.close()
            self._refuse(failure)
        except BaseException:
            self.close()
            raise

    def finish(self) -> list[tuple[NetConfig, Cable]]:
        """Wait until they are there; each with what it stands on, which is the caller's.  ConfigError."""
        begun, self._begun = self._begun, []
        cables: list[tuple[NetConfig, Cable]] = []
        try:
            for opening in begun:
                cables.append((opening.card, opening.finish()))
        except BaseException as failure:
            with Releases() as releases:
                for _, cable in cables:
                    releases.do(cable.close)
                for opening in begun:
                    releases.do(opening.close)
            if not isinstance(failure, ConfigError):
                raise
            self._refuse(failure)
            return []
        return cables

    def close(self) -> None:
        """Nobody wants them any more.  Again does nothing."""
        begun, self._begun = self._begun, []
        with Releases() as releases:
            for opening in begun:
                releases.do(opening.close)

    def _refuse(self, failure: ConfigError) -> None:
        if self._asked:
            raise failure
        self._warn(f"the guest has no network: {failure} (--net none wants none)")
