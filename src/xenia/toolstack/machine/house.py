"""What the domains of one machine share."""

from __future__ import annotations

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
