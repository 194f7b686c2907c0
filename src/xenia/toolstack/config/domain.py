"""A domain of the daemon's, as it is asked for: what becomes of it when it ends, besides what every guest has."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Self

from xenia.errors import ConfigError


class Action(Enum):
    """What becomes of a domain that has ended, in xl's words."""

    DESTROY = "destroy"
    RESTART = "restart"
    PRESERVE = "preserve"
    COREDUMP_DESTROY = "coredump-destroy"
    COREDUMP_RESTART = "coredump-restart"

    @property
    def dumps(self) -> bool:
        """Whether its core is dumped first."""
        return self in (Action.COREDUMP_DESTROY, Action.COREDUMP_RESTART)

    @property
    def then(self) -> Action:
        """The same without that."""
        return {Action.COREDUMP_DESTROY: Action.DESTROY, Action.COREDUMP_RESTART: Action.RESTART}.get(self, self)


@dataclass(frozen=True, kw_only=True)
class DomainConfig:
    """Plain data, of which some is for the machine and some for whoever looks after it.

    name, memory, max_memory, clock, vcpus, max_vcpus, engine    as in MachineConfig
    uuid                    the domain's, in xl's form
    weight, cap             its share of the processors beside others', and hundredths of one that it may have at most
    cpus, cpus_soft         which processors its vcpus may and should have, in xl's words; of several, with ; between
    timeout                 seconds after which it is destroyed
    on_*                    what becomes of it when it ends so
    said                    the configuration in xl's words, for who asks what the domain is
    """

    name: str
    memory: int
    clock: str = "real"
    vcpus: int = 1
    max_vcpus: int | None = None
    max_memory: int | None = None
    engine: str = "auto"
    uuid: str = ""
    weight: int = 256
    cap: int = 0
    cpus: str = ""
    cpus_soft: str = ""
    timeout: float | None = None
    on_poweroff: Action = Action.DESTROY
    on_reboot: Action = Action.RESTART
    on_crash: Action = Action.DESTROY
    on_watchdog: Action = Action.DESTROY
    said: dict[str, Any] = field(default_factory=dict)

    @property
    def guest(self) -> dict[str, Any]:
        """What the guest's own configuration takes."""
        names = ("name", "memory", "clock", "vcpus", "max_vcpus", "max_memory", "engine")
        return {name: getattr(self, name) for name in names}

    def as_dict(self) -> dict[str, Any]:
        """The same by name, as JSON can say it."""
        return {name: value.value if isinstance(value, Action) else value for name, value in vars(self).items()}

    @classmethod
    def read(cls, values: dict[str, Any]) -> Self:
        """What `as_dict` said.  ConfigError where the values describe none."""
        read: dict[str, Any] = dict(values)
        try:
            for name in filter(lambda name: name.startswith("on_"), values):
                read[name] = Action(values[name])
            return cls(**read)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"the request describes no domain: {error}") from None
