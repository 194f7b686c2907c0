"""xl's verbs that change a domain's life: the daemon's, and as far as that goes the guests of `xenia run`."""

from __future__ import annotations

import argparse
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

from xenia.cli.exit_status import EndedBySignal, ExitStatus
from xenia.cli.printable import print_json
from xenia.cli.signals import raise_no_more
from xenia.cli.voice import Voice
from xenia.errors import ConfigError
from xenia.toolstack.control.client import NoSuchGuest, Place, find, places

if TYPE_CHECKING:
    from xenia.toolstack.service.attach import AttachedConsole

_INVALID = -6  # ERROR_INVAL of libxl
_GLANCE = 0.1  # seconds until it is looked again whether a process has ended
_LONG = 3.0  # seconds that one request waits for an end
_END = 60.0  # seconds for a domain to give back what it has
_TRIGGERS = ("nmi", "reset", "init", "power", "sleep", "s3resume")

Options = argparse.Namespace


def domains(options: Options, voice: Voice) -> int:
    """Carry out one verb.  What fails is one line, and status 1, as in xl."""
    try:
        return _verb(options.verb)(options, voice)
    except ConfigError as error:
        voice.error(str(error))
        return ExitStatus.PROBLEM


def _verb(name: str) -> Callable[[Options, Voice], int]:
    if name in _ELSEWHERE:
        function: Callable[[Options, Voice], int] = getattr(
            import_module(f"xenia.cli.{_ELSEWHERE[name]}"), f"show_{name.replace('-', '_')}"
        )
        return function
    return _VERBS[name]


def find_domain(name: str) -> Place:
    """The domain of that name or number.  ConfigError in xl's words where there is none."""
    try:
        found = find(name)
    except NoSuchGuest:
        raise ConfigError(f"{name} is an invalid domain identifier (rc={_INVALID})") from None
    if len(found) > 1:
        numbers = ", ".join(str(one.number) for one in found)
        raise ConfigError(f"{name} is more than one domain: say which by its number ({numbers})")
    return found[0]


def destroy(options: Options, _: Voice) -> int:
    """`destroy`: a guest of `xenia run` ends as by a signal."""
    place = find_domain(options.domain)
    if place.domid is not None:
        place.ask("destroy", patience=_END)
    else:
        with suppress(ProcessLookupError):
            os.kill(place.pid, signal.SIGTERM)
        _await_end([place])
    return ExitStatus.OK


def shutdown(options: Options, voice: Voice) -> int:
    """`shutdown` and `reboot`."""
    if not options.domain and not options.all:
        raise ConfigError("You must specify -a or a domain id.")
    wish, doing = ("reboot", "Rebooting") if options.verb == "reboot" else ("poweroff", "Shutting down")
    asked = [one for one in places() if one.domid is not None] if options.all else [find_domain(options.domain)]
    accepted: list[Place] = []
    for place in asked:
        voice.say(f"{doing} domain {place.number}")
        try:
            place.ask("shutdown", wish=wish)
        except ConfigError as error:
            if not options.all:
                raise
            voice.error(str(error))
        else:
            accepted.append(place)
    if options.wait:
        _await_end(accepted, voice)
    return ExitStatus.OK if accepted == asked else ExitStatus.PROBLEM


def _await_end(waited: Sequence[Place], voice: Voice | None = None) -> None:
    """Until none of these lives goes on."""
    left = list(waited)
    while left:
        for place in list(left):
            if place.domid is None:
                over = not place.is_answered()
                time.sleep(0 if over else _GLANCE)
            else:
                try:
                    over = place.ask("await", patience=_LONG + _LONG, timeout=_LONG)
                except NoSuchGuest:
                    over = True  # with the daemon
            if over:
                left.remove(place)
                if voice is not None:
                    voice.say(f"Domain {place.number} has been shut down")


def pause(options: Options, _: Voice) -> int:
    """`pause` and `unpause`."""
    find_domain(options.domain).ask(options.verb)
    return ExitStatus.OK


def rename(options: Options, _: Voice) -> int:
    """`rename`: a guest of `xenia run` is found by its socket's name, which goes with it."""
    place = find_domain(options.domain)
    if any(one.name == options.name for one in places()):
        raise ConfigError(
            f"Can't rename domain '{options.domain}'. A domain with name '{options.name}' already exists."
        )
    place.ask("rename", to=options.name)
    if place.domid is None:
        with suppress(OSError):
            place.path.rename(place.path.with_name(f"{options.name}.{place.pid}"))
    return ExitStatus.OK


def sysrq(options: Options, _: Voice) -> int:
    """`sysrq`."""
    if len(options.letter) != 1:
        raise ConfigError(f"Invalid sysrq: '{options.letter}' is no letter")
    find_domain(options.domain).ask("sysrq", key=options.letter)
    return ExitStatus.OK


def trigger(options: Options, _: Voice) -> int:
    """`trigger`."""
    place = find_domain(options.domain)
    if options.trigger not in _TRIGGERS:
        raise ConfigError(f"Invalid trigger '{options.trigger}'; there are {', '.join(_TRIGGERS)}")
    if options.trigger != "nmi":
        raise ConfigError(f"a PV guest has nothing that could be told '{options.trigger}' (xenia shutdown, reboot)")
    place.ask("nmi", vcpu=options.vcpu)
    return ExitStatus.OK


def console(options: Options, voice: Voice) -> int:
    """`console`."""
    from xenia.toolstack.service.attach import AttachedConsole

    if options.type not in (None, "pv") or options.number not in (None, 0):
        raise ConfigError("a domain has one console, which is pv and number 0")
    return attached(AttachedConsole(find_domain(options.domain)), voice)


def attached(seat: AttachedConsole, voice: Voice) -> int:
    """Stay at a console until it ends or is left."""
    from xenia.toolstack.attach.session import Why

    ended = seat.run()
    match ended.why:
        case Why.SIGNAL:
            assert ended.signal is not None
            raise_no_more()
            raise EndedBySignal(ended.signal)
        case Why.OUTPUT:
            raise BrokenPipeError
        case Why.SHUTDOWN:
            voice.say("the domain is gone")
    return ExitStatus.OK


def network(options: Options, voice: Voice) -> int:
    """`network-attach` and `network-detach`."""
    from xenia.cli.devices import card_of
    from xenia.toolstack.control import remote
    from xenia.toolstack.guest.verbs import DetachDevice

    place = find_domain(options.domain)
    if options.verb == "network-attach":
        name = remote.attach(str(place.number), "vif", ",".join(options.words) or "user")
        if options.json:
            print_json({"name": name})
        else:
            print(name)
    else:
        name = card_of(place, options.card)["name"]
        voice.busy(f"waiting for the guest to let go of {name}")
        remote.call(str(place.number), DetachDevice("vif", name))
        voice.clear()
    return ExitStatus.OK


def config_update(options: Options, voice: Voice) -> int:
    """`config-update`: what a domain does when it ends, from its next end on."""
    from xenia.cli.configuration import configuration, file_of

    place = find_domain(options.domain)
    path = file_of(options)
    if path is None:
        raise ConfigError("no configuration file specified")
    place.ask("configure", config=configuration(path, options, voice).domain.as_dict())
    return ExitStatus.OK


_VERBS: dict[str, Callable[[Options, Voice], int]] = {
    "destroy": destroy,
    "shutdown": shutdown,
    "reboot": shutdown,
    "pause": pause,
    "unpause": pause,
    "rename": rename,
    "sysrq": sysrq,
    "trigger": trigger,
    "console": console,
    "network-attach": network,
    "network-detach": network,
    "config-update": config_update,
}
_ELSEWHERE = {
    **dict.fromkeys(
        ("list", "vm-list", "vcpu-list", "uptime", "domid", "domname", "info", "claims", "network-list"), "listings"
    ),
    "top": "top",
}
