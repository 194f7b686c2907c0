"""xl's verbs for domains: the daemon's, and as far as that goes the guests of `xenia run`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from xenia.cli.exit_status import ExitStatus
from xenia.cli.printable import printable
from xenia.cli.voice import Voice
from xenia.errors import ConfigError
from xenia.toolstack.control.client import NoSuchGuest, Place, find
from xenia.toolstack.service import listing, place

_INVALID = -6  # ERROR_INVAL of libxl
_REASONS = "-rscwS"

Options = argparse.Namespace


def domains(options: Options, voice: Voice) -> int:
    """Carry out one verb.  What fails is one line, and status 1, as in xl."""
    try:
        return _VERBS[options.verb](options, voice)
    except ConfigError as error:
        voice.error(str(error))
        return ExitStatus.PROBLEM


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


def list_domains(options: Options, voice: Voice) -> int:
    """`list`."""
    if (killed := place.killed()) is not None:
        voice.warn(str(killed))
    rows = listing.rows()
    if options.domain:
        wanted = {(one.path, one.number) for one in map(find_domain, options.domain)}
        rows = [row for row in rows if (row.place.path, row.place.number) in wanted] if wanted else rows
    elif not options.json and not options.long:
        rows = [listing.domain0(), *rows]
    if options.long or options.json:
        details = listing.configurations(rows) if options.long else [row.as_dict() for row in rows]
        print(json.dumps(details, indent=4 if options.long else 2))
        return ExitStatus.OK
    for line in list_lines((row.summary for row in rows), verbose=options.verbose):
        print(line)
    return ExitStatus.OK


def list_lines(rows: Iterable[Mapping[str, Any]], *, verbose: bool = False) -> Iterable[str]:
    """As xl prints them, column by column."""
    head = "Name                                        ID   Mem VCPUs\tState\tTime(s)"
    yield head + "   UUID                            Reason-Code\tSecurity Label" * verbose
    for row in rows:
        line = (
            f"{printable(row['name']):<40} {row['number']:5} {row['memory'] >> 20:5} {row['vcpus']:5}     "
            f"{state_letters(row)}  {row['cpu_time']:8.1f}"
        )
        if verbose:
            reason = row["shutdown"]
            line += f" {row['uuid']:36} {'-' if reason is None else format(reason, 'x'):>8} {'-':>16}"
        yield line


def state_letters(row: Mapping[str, Any]) -> str:
    """xl's six letters: running, blocked, paused, shut down, why it did, dying."""
    reason = row["shutdown"]
    why = "-" if reason is None else _REASONS[reason] if reason < len(_REASONS) else "?"
    flags = ((row["running"], "r"), (row["blocked"], "b"), (row["paused"], "p"), (reason is not None, "s"))
    return "".join(letter if is_so else "-" for is_so, letter in flags) + why + ("d" if row["dying"] else "-")


def destroy(options: Options, _: Voice) -> int:
    """`destroy`."""
    find_domain(options.domain).ask("destroy", patience=30)
    return ExitStatus.OK


def console(options: Options, voice: Voice) -> int:
    """`console`."""
    from xenia.toolstack.service.attach import AttachedConsole

    return attached(AttachedConsole(find_domain(options.domain)), voice)


def attached(console: Any, voice: Voice) -> int:
    """Stay at a console until it ends or is left."""
    from xenia.cli.exit_status import EndedBySignal
    from xenia.cli.signals import raise_no_more
    from xenia.toolstack.attach.session import Why

    ended = console.run()
    if ended.why is Why.SIGNAL:
        raise_no_more()
        raise EndedBySignal(ended.signal)
    if ended.why is Why.OUTPUT:
        raise BrokenPipeError
    if ended.why is Why.SHUTDOWN:
        voice.say("the domain is gone")
    return ExitStatus.OK


_VERBS: dict[str, Callable[[Options, Voice], int]] = {
    "list": list_domains,
    "destroy": destroy,
    "console": console,
}
