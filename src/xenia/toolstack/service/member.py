"""A domain of the daemon's, from its creation until it is gone: what becomes of it each time that it ends."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from xenia.errors import ConfigError, HypervisorBug
from xenia.shutdown import Reason
from xenia.toolstack.config.core import core_path, open_core
from xenia.toolstack.config.domain import Action, DomainConfig
from xenia.toolstack.guest.dump_verbs import DumpCore
from xenia.toolstack.guest.reboots import Reboots
from xenia.toolstack.isolation.isolated import Remote
from xenia.toolstack.service.consoles import SharedConsole
from xenia.toolstack.service.scheduling import scheduling

_log = logging.getLogger(__name__)
_DESTROYED: Final[dict[str, Any]] = {"how": "destroyed", "status": None}


@dataclass
class Member:
    """One.

    key       its number in the machine's process, which it keeps when it reboots
    domid     the number of its life of now
    machine   that process
    console   where its readers are attached
    gone      called once it is destroyed, and nothing of it is left
    """

    key: int
    domid: int
    config: DomainConfig
    machine: Remote
    console: SharedConsole
    gone: Callable[[Member], None]
    moved: Callable[[], None]

    def __post_init__(self) -> None:
        self.name = self.config.name
        self.over = threading.Event()
        self._reboots = Reboots()
        self._ending = threading.Lock()
        self._changed = threading.Condition()
        self._begun = False
        self.ended = False  # and is kept as it ended
        self.ending = dict(_DESTROYED)  # its last end, for who asks later

    def begin(self) -> None:
        """Let it run, once.  ConfigError where the host refuses what that needs."""
        self.machine.call("begin", key=self.key)
        self._reboots.started()
        threading.Thread(target=self._live, name=f"life of {self.name}", daemon=True).start()
        if self.config.timeout is not None:
            threading.Thread(target=self._end_late, args=(self.config.timeout,), name="timeout", daemon=True).start()

    def schedule(self) -> None:
        """Give it the share and the processors of its configuration.  ConfigError where it cannot have them."""
        for verb in scheduling(self.config):
            self.ask(verb.word, verb.request())

    def unpause(self) -> None:
        """Let it go on, or begin.  ConfigError where it cannot; one that cannot begin is destroyed."""
        with self._ending:
            begun, self._begun = self._begun, True
        if begun:
            self.ask("unpause", {})
            return
        try:
            self.ask("unpause", {})  # it may have been paused before it began
            self.begin()
        except ConfigError as failure:
            self._quietly_end()
            raise ConfigError(f"it cannot begin, and is destroyed: {failure}") from None

    def configure(self, config: DomainConfig) -> None:
        """What becomes of it at its next ends is another from now on; it stays what it is."""
        said = {**self.config.said, **{name: config.said[name] for name in config.said if name.startswith("on_")}}
        self.config = replace(
            self.config, on_poweroff=config.on_poweroff, on_reboot=config.on_reboot, on_crash=config.on_crash,
            on_watchdog=config.on_watchdog, said=said,
        )  # fmt: skip

    def rename(self, name: str) -> None:
        """Give it another name.  ConfigError where that is none."""
        self.ask("rename", {"to": name})
        said = self.config.said
        if "c_info" in said:
            said = {**said, "c_info": {**said["c_info"], "name": name}}
        self.config = replace(self.config, name=name, said=said)
        self.name = name
        self.moved()

    def await_end(self, domid: int, timeout: float) -> bool:
        """Wait until the life of that number has ended, or has been destroyed; whether it has in so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self.domid != domid or self.ended or self.over.is_set(), timeout)

    def await_last_end(self, timeout: float) -> bool:
        """Wait until it has ended for good, be it gone or kept as it ended; whether it has in so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self.ended or self.over.is_set(), timeout)

    def ask(self, word: str, request: dict[str, Any]) -> Any:
        """Have its guest do what others may ask of one."""
        descriptors = request.pop("descriptors", [])
        return self.machine.call("guest", descriptors, key=self.key, word=word, request=request)

    def end(self) -> None:
        """Destroy it.  Again does nothing.  ConfigError where a disk did not close cleanly."""
        with self._ending:
            if self.over.is_set():
                return
            try:
                self.machine.call("end", key=self.key)
            except HypervisorBug as bug:
                _log.error("%s: %s", self.name, bug)  # it went with its machine
            finally:
                self.over.set()
                self._tell()
                self.gone(self)

    def _end_late(self, seconds: float) -> None:
        if not self.over.wait(seconds):
            self.ending = {"how": "timeout", "status": None}
            self._quietly_end()

    def _live(self) -> None:
        try:
            while self._once():
                pass
        except (ConfigError, HypervisorBug) as failure:
            if not self.over.is_set():
                _log.error("domain %s: %s", self.name, failure)
                self._quietly_end()

    def _once(self) -> bool:
        """Wait for its end, and do what was asked for that; whether it lives again."""
        ended = self.machine.call("await", key=self.key)
        if ended is None:
            return False
        reason = Reason(ended["reason"])
        crashed = reason is Reason.CRASH and bool(ended["detail"])
        self.ending = {"how": "crashed" if crashed else reason.name.lower(), "status": ended["status"]}
        action = self._action(reason)
        how = ended["detail"] or f"{reason.name.lower()}"
        _log.info("domain %s (%d) ended: %s; on that, %s", self.name, self.domid, how, action.value)
        if action.dumps:
            self._dump()
        action = action.then
        if action is Action.RESTART:
            if self._reboots.allowed():
                self.ending = dict(_DESTROYED)
                self.domid = self.machine.call("rebuild", key=self.key)
                self.machine.call("begin", key=self.key)
                self._reboots.started()
                self._tell()
                self.moved()
                return True
            _log.error("domain %s reboots too fast (%s); it is not started again", self.name, self._reboots.too_fast)
        if action is not Action.PRESERVE:
            self._quietly_end()
            return False
        self.ended = True
        self._tell()
        return False

    def _dump(self) -> None:
        """Leave its core behind.  Where that cannot be, it ends all the same."""
        try:
            path = core_path(self.name)
            _log.info("dumping the core of domain %s to %s", self.name, path)
            with open_core(path) as descriptor:
                verb = DumpCore((descriptor,))
                self.ask(verb.word, {**verb.request(), "descriptors": verb.descriptors})
        except ConfigError as failure:
            _log.error("domain %s: no core: %s", self.name, failure)

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _quietly_end(self) -> None:
        try:
            self.end()
        except ConfigError as failure:
            _log.error("domain %s: %s", self.name, failure)

    def _action(self, reason: Reason) -> Action:
        match reason:
            case Reason.REBOOT | Reason.SOFT_RESET:
                return self.config.on_reboot
            case Reason.CRASH:
                return self.config.on_crash
            case Reason.WATCHDOG:
                return self.config.on_watchdog
            case Reason.SUSPEND:
                return Action.PRESERVE
        return self.config.on_poweroff
