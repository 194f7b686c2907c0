"""What an xl.cfg(5) asks for, and xl's `create` besides: from names and values to a guest's configuration."""

from __future__ import annotations

import re
import uuid as uuids
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xenia.errors import ConfigError
from xenia.toolstack.config.choices import ENGINES
from xenia.toolstack.config.disk import DiskConfig, parse_disk
from xenia.toolstack.config.domain import Action, DomainConfig
from xenia.toolstack.config.machine import MIB, MachineConfig
from xenia.toolstack.config.net import NetConfig, parse_card
from xenia.toolstack.config.share import ShareConfig, for_guest, parse_xl_share
from xenia.toolstack.config.xl_grammar import Value, parse
from xenia.toolstack.config.xl_keys import FOR_OTHERS, KEYS, NO_EFFECT, REFUSED, WITHOUT

_MEMORY = 256 * MIB  # of a guest whose configuration does not say
_MAX_WEIGHT = 65535  # as of Xen's credit2
_MOST_TEXT = 1 << 20  # characters
_ACTIONS = ("destroy", "restart", "rename-restart", "preserve", "coredump-destroy", "coredump-restart", "soft-reset")
_MEANS = {
    "rename-restart": (Action.PRESERVE, "its domain is kept as it ended, and no other is started"),
    "soft-reset": (Action.RESTART, "the domain is started anew"),
}


@dataclass(frozen=True)
class Asked:
    """What was asked for.

    guest      what it boots and has
    domain     what becomes of it
    warnings   a line each
    """

    guest: MachineConfig
    domain: DomainConfig
    warnings: tuple[str, ...] = field(default=())


def read_file(path: str) -> str:
    """The text of a configuration.  ConfigError."""
    try:
        with Path(path).open(encoding="utf-8", errors="surrogateescape") as file:
            text = file.read(_MOST_TEXT + 1)
    except OSError as error:
        raise ConfigError(f"Failed to read config file: {path}: {error.strerror}") from None
    if len(text) > _MOST_TEXT:
        raise ConfigError(f"Failed to read config file: {path}: it has no end within {_MOST_TEXT} characters")
    return text


def words_of(words: Iterable[str]) -> str:
    """KEY=VALUE words of a command line, as a configuration: where a shell has taken a value's quotes, they are put
    back."""
    lines = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"'{word}': write KEY=VALUE")
        value = value.strip()
        if not re.fullmatch(r"""['"\[].*|[0-9][0-9A-Fa-fxX]*""", value, re.DOTALL):
            value = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        lines.append(f"{key.strip()}={value}\n")
    return "".join(lines)


def read(text: str, source: str = "config") -> Asked:
    """What a configuration asks for.  ConfigError where it cannot be understood, or cannot be had."""
    return _Reader(parse(text, source), source).read()


class _Reader:
    def __init__(self, settings: Mapping[str, Value], source: str) -> None:
        self._settings = dict(settings)
        self._source = source
        self._warnings: list[str] = []

    def read(self) -> Asked:
        self._check_kind()
        self._check_rest()
        name = self._text("name")
        if not name:
            raise ConfigError("Domain name must be specified.")
        memory, maximum = self._megabytes("memory"), self._megabytes("maxmem")
        size = memory or maximum or _MEMORY
        if maximum is not None and maximum < size:
            raise self._error("maxmem", f"{maximum // MIB} is below memory, which is {size // MIB}")
        guest = MachineConfig(
            name=name, memory=size, kernel=self._text("kernel") or None, initrd=self._text("ramdisk") or None,
            max_memory=maximum, engine=self._engine(),
            append=self._command_line(), disks=self._disks(), cards=self._cards(), devices=self._folders(),
            **self._processors(),
        )  # fmt: skip
        domain = DomainConfig(
            name=name, memory=size, vcpus=guest.vcpus, max_vcpus=guest.max_vcpus, max_memory=maximum, uuid=self._uuid(),
            engine=guest.engine, **self._scheduling(),
            on_poweroff=self._action("on_poweroff", Action.DESTROY),
            on_reboot=self._action("on_reboot", Action.RESTART),
            on_crash=self._action("on_crash", Action.DESTROY), on_watchdog=self._action("on_watchdog", Action.DESTROY),
        )  # fmt: skip
        self._action("on_soft_reset", Action.RESTART)
        return Asked(guest, replace(domain, said=_said(guest, domain, maximum)), tuple(self._warnings))

    # --- What kind of guest it is

    def _check_kind(self) -> None:
        kind = self._text("type") or {"hvm": "hvm"}.get(self._text("builder"), "pv")
        if kind != "pv":
            word = "type" if "type" in self._settings else "builder"
            raise self._error(word, f"'{kind}' needs a processor's virtualisation; guests here are type=\"pv\"")
        if loader := self._text("bootloader"):
            raise self._error(
                "bootloader", f"'{loader}' would be run on the host: name the guest's kernel= and ramdisk= instead"
            )

    def _check_rest(self) -> None:
        unknown, idle = [], []
        for key, value in self._settings.items():
            if not value.plain or value.plain == "0":
                continue
            if key in REFUSED:
                raise self._error(key, REFUSED[key])
            if key in WITHOUT:
                self._warn(key, WITHOUT[key])
            elif key in NO_EFFECT:
                idle.append(key)
            elif key not in KEYS and key not in FOR_OTHERS:
                unknown.append(key)
        if unknown:
            self._warnings.append(f"{self._source}: unknown, and left out: {', '.join(unknown)}")
        if idle:
            self._warnings.append(f"{self._source}: of no effect here: {', '.join(idle)}")

    # --- Its parts

    def _engine(self) -> Any:
        engine = self._text("engine") or "auto"
        if engine not in ENGINES:
            raise self._error("engine", f"'{engine}' is none of {', '.join(ENGINES)}")
        return engine

    def _command_line(self) -> str:
        line, root, extra = self._text("cmdline"), self._text("root"), self._text("extra")
        if line:
            if root or extra:
                self._warn("cmdline", "root= and extra= are ignored in favour of it")
            return line
        return " ".join(filter(None, (f"root={root}" if root else "", extra)))

    def _disks(self) -> tuple[DiskConfig, ...]:
        return tuple(self._each("disk", parse_disk))

    def _cards(self) -> tuple[NetConfig, ...]:
        return tuple(self._each("vif", lambda words: parse_card(words) if words.strip() else NetConfig()))

    def _folders(self) -> tuple[ShareConfig, ...]:
        try:
            return for_guest(self._each("p9", parse_xl_share))
        except ConfigError as error:
            raise self._error("p9", str(error)) from None

    def _each(self, key: str, read: Callable[[str], Any]) -> Iterable[Any]:
        value = self._settings.get(key)
        if value is None:
            return
        if isinstance(value.plain, str):
            raise self._error(key, f"is a list: {key} = [ '...' ]")
        for one in value.plain:
            if one.text is None:
                raise self._error(key, "is a list of strings")
            try:
                yield read(one.text)
            except ConfigError as error:
                raise ConfigError(f"{self._source}:{one.line}: {error}") from None

    def _processors(self) -> dict[str, Any]:
        vcpus, most = self._number("vcpus"), self._number("maxvcpus")
        return {"vcpus": vcpus or most or 1, "max_vcpus": most}

    def _scheduling(self) -> dict[str, Any]:
        weight, cap = self._number("cpu_weight"), self._number("cap")
        if weight is not None and not 1 <= weight <= _MAX_WEIGHT:
            raise self._error("cpu_weight", f"{weight} is not from 1 to {_MAX_WEIGHT}")
        if cap is not None and cap < 0:
            raise self._error("cap", f"{cap} is less than nothing: 100 is one processor, and 0 no bound")
        return {
            "weight": 256 if weight is None else weight,
            "cap": cap or 0,
            "cpus": self._affinity("cpus"),
            "cpus_soft": self._affinity("cpus_soft"),
        }

    def _affinity(self, key: str) -> str:
        value = self._settings.get(key)
        if value is None:
            return ""
        if isinstance(value.plain, str):
            return value.plain
        return ";".join(one.text or "" for one in value.plain)

    def _action(self, key: str, default: Action) -> Action:
        said = self._text(key)
        if not said:
            return default
        if said not in _ACTIONS:
            raise self._error(key, f"Unknown action '{said}'; there are {', '.join(_ACTIONS)}")
        if said in _MEANS:
            action, what = _MEANS[said]
            self._warn(key, f"'{said}' is {action.value} here: {what}")
            return action
        return Action(said)

    def _uuid(self) -> str:
        said = self._text("uuid")
        try:
            return str(uuids.UUID(said)) if said else str(uuids.uuid4())
        except ValueError:
            raise self._error("uuid", f"Failed to parse UUID: {said}") from None

    # --- Values

    def _text(self, key: str) -> str:
        value = self._settings.get(key)
        if value is None:
            return ""
        if value.text is None:
            raise self._error(key, "is a single value, and no list")
        return value.text

    def _number(self, key: str) -> int | None:
        text = self._text(key).strip()
        if not text:
            return None
        try:
            return int(text, 8) if re.fullmatch(r"0[0-7]+", text) else int(text, 0)
        except ValueError:
            raise self._error(key, f"'{text}' is not a valid number") from None

    def _megabytes(self, key: str) -> int | None:
        number = self._number(key)
        if number is not None and number <= 0:
            raise self._error(key, f"{number} MiB are no memory")
        return None if number is None else number * MIB

    def _warn(self, key: str, message: str) -> None:
        self._warnings.append(f"{self._at(key)}: {message}")

    def _error(self, key: str, message: str) -> ConfigError:
        return ConfigError(f"{self._at(key)}: {message}")

    def _at(self, key: str) -> str:
        value = self._settings.get(key)
        return f"{self._source}:{value.line}: {key}" if value is not None else f"{self._source}: {key}"


def _said(guest: MachineConfig, domain: DomainConfig, maximum: int | None) -> dict[str, Any]:
    """The configuration as `xl create -n` and `xl list -l` print it."""
    b_info: dict[str, Any] = {
        "max_vcpus": guest.max_vcpus or guest.vcpus,
        "avail_vcpus": list(range(guest.vcpus)),
        "max_memkb": (maximum or guest.memory) >> 10, "target_memkb": guest.memory >> 10,
        "sched_params": {"weight": domain.weight, "cap": domain.cap},
        "kernel": guest.kernel, "cmdline": guest.append, "ramdisk": guest.initrd, "type.pv": {},
    }  # fmt: skip
    shares = [
        {"tag": share.name, "path": share.path, "security_model": "none"}
        for share in guest.devices
        if isinstance(share, ShareConfig)
    ]
    return {
        "c_info": {"type": "pv", "name": guest.name, "uuid": domain.uuid},
        "b_info": {key: value for key, value in b_info.items() if value not in (None, "")},
        "disks": [
            {"pdev_path": disk.stack, "vdev": disk.name, "readwrite": int(not disk.read_only), "is_cdrom": disk.cdrom}
            for disk in guest.disks
        ],
        "nics": [{"link": card.link, "mac": card.mac, "words": card.words()} for card in guest.cards or ()],
        **({"p9s": shares} if shares else {}),
        "on_poweroff": domain.on_poweroff.value, "on_reboot": domain.on_reboot.value,
        "on_watchdog": domain.on_watchdog.value, "on_crash": domain.on_crash.value,
    }  # fmt: skip
