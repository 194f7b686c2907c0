"""What the domains of one machine share."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xenia.toolstack.machine.hypervisor_log import HypervisorLog
from xenia.xenstore.server import Server

if TYPE_CHECKING:
    from xenia.toolstack.machine.domain import Domain
    from xenia.toolstack.networks.network import Network


@dataclass
class House:
    """A machine, as its domains see it."""

    store: Server
    log: HypervisorLog
    networks: list[Network] = field(default_factory=list)
    domains: list[Domain] = field(default_factory=list)  # replaced, never changed: others look at it meanwhile
    _moving: threading.Lock = field(default_factory=threading.Lock)  # held by who replaces it

    def take_in(self, domain: Domain) -> None:
        """One more.  On any thread."""
        with self._moving:
            self.domains = [*self.domains, domain]

    def let_go(self, domain: Domain) -> None:
        """It is destroyed.  On any thread."""
        with self._moving:
            self.domains = [other for other in self.domains if other is not domain]
